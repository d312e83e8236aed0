// Hides from a program what an HTTP/2 server says of other services (RFC 7838: mostly of QUIC), in
// place and as the bytes come. As many bytes remain, and both ends' compression tables agree in
// size: a field keeps its value under an unknown name, a frame its payload under a type
// that is unknown.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace mitm::http {

class Http2AltSvc {
 public:
  /// The next bytes from the server; they may be cut anywhere, and need not be good HTTP/2.
  void hide(std::span<char> bytes);

 private:
  /// Of a header block (RFC 7541 section 6).
  enum class Part : std::uint8_t { field, index, size, more_size, string };

  void frame_header(char& octet);
  void begin_frame();
  void payload(std::span<char> bytes);
  std::size_t block(std::span<char> bytes);
  void begin_field(unsigned char octet);
  void more_size(unsigned char octet);
  void begin_string();
  std::size_t string(std::span<char> bytes);
  void end_string();

  std::array<unsigned char, 9> header_{};
  std::size_t header_size_ = 0;  ///< of it that has come
  std::size_t left_ = 0;         ///< of the frame's payload
  std::size_t ahead_ = 0;        ///< octets in front of the block
  std::size_t padding_ = 0;      ///< behind it
  bool pad_length_due_ = false;
  bool in_block_ = false;  ///< the frame has part of one

  Part part_ = Part::field;
  Part after_index_ = Part::field;
  bool name_ = false;  ///< the next string is one
  bool huffman_ = false;
  bool spelled_ = false;  ///< the string so far
  std::uint64_t size_ = 0;
  std::uint64_t at_ = 0;
  unsigned shift_ = 0;
};

}  // namespace mitm::http
