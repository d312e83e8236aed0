// What a gate makes of the messages of an HTTP/2 connection. From some frame on what passes is put
// together here: frames that the gate does not concern as they came, streams in the order in which
// their heads are passed on, header blocks compressed anew from the first on that is not as it was.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "mitm/http/http2.h"
#include "mitm/http/http2_writer.h"
#include "mitm/intercept/session/editing.h"
#include "mitm/intercept/session/exchange.h"

namespace mitm::intercept {

/// Flow control (RFC 9113 section 5.2) between a sender, us and a receiver, in bytes.
struct Http2Window {
  std::int64_t sender;    ///< that the sender believes it may send
  std::int64_t receiver;  ///< that the receiver allows us
};

class Http2Editing {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    /// Has them read, by which the calls for listeners below come. False: they are malformed.
    virtual bool read(flow::Direction direction, std::string_view bytes) = 0;
    /// Of a stream by the program's number. Null: none is open.
    virtual Exchange* exchange(std::uint32_t stream) = 0;
    /// A message of the stream is not waited for any longer: the exchange may have ended. `edits`:
    /// what the gate has made of it so far.
    virtual void decided(std::uint32_t stream, std::shared_ptr<const flow::Edits> edits) = 0;
    /// The exchange, if there is one, ends here.
    virtual void end(std::uint32_t stream, std::string why) = 0;
    /// say() may have something to say, in either direction.
    virtual void speak() = 0;
  };

  /// Between two frames of each direction, or within one whose rest passes.
  /// Http2Reader::left_of_frame() of both is known.
  Http2Editing(FlowRecorder& recorder, const http::Http2Reader& requests,
               const http::Http2Reader& responses, std::uint32_t newest, Owner& owner);
  Http2Editing(const Http2Editing&) = delete;
  Http2Editing& operator=(const Http2Editing&) = delete;
  ~Http2Editing();

  /// What comes from a side. False: it is malformed.
  [[nodiscard]] bool feed(flow::Direction direction, std::string_view bytes);
  /// Why; null: a reader knows.
  [[nodiscard]] const char* error() const { return error_; }
  /// What is passed on; a piece, each of which is a write of its own.
  [[nodiscard]] std::string say(flow::Direction direction);
  [[nodiscard]] bool has_to_say(flow::Direction direction) const {
    return !lane(direction).out.empty();
  }
  /// Whether the receiver of the other direction takes too little of what is said to it.
  [[nodiscard]] bool is_on_hold(flow::Direction direction) const;
  /// Whether something is yet to be said in a direction whose sender has ended.
  [[nodiscard]] bool speaks_on(flow::Direction direction) const;
  /// A side will send no more: what is held for it is not waited for any longer.
  void sender_left(flow::Direction direction);

  // For listeners of the readers.

  /// The program's number of a stream that the server has named; 0: none is open that has it.
  [[nodiscard]] std::uint32_t number(flow::Direction direction, std::uint32_t stream) const;
  void head(const http::Http2Head& head);
  void promise(std::uint32_t promised, const http::Http2Head& head);
  /// Part of a body.
  void data(flow::Direction direction, std::uint32_t stream, std::string_view bytes);

  /// Whether a message of the stream has come that is not passed on, nor dropped.
  [[nodiscard]] bool is_undecided(std::uint32_t stream) const;
  /// Whether the server's answer, which has come whole, is not passed on yet.
  [[nodiscard]] bool keeps_response(std::uint32_t stream) const;
  /// Of an exchange that ends now; null: nothing was changed.
  [[nodiscard]] std::shared_ptr<const flow::Edits> end_exchange(std::uint32_t stream);

 private:
  using Direction = flow::Direction;
  using Way = Editing::Way;

  /// A header block.
  struct Block {
    std::uint64_t place = 0;  ///< among those of its direction
    std::string raw{};        ///< its frames, as they came
    std::string priority{};   ///< of HEADERS; five bytes, or none
    http::Http2Head head{};
    bool ends_stream = false;
  };
  /// What of a stream is passed on in one direction as soon as windows allow.
  struct Queue {
    std::string body;
    std::size_t said = 0;        ///< of it
    std::size_t uncredited = 0;  ///< of it, its last bytes: the sender's windows still lack them
    std::optional<Block> trailers;
    bool ends = false;  ///< behind all that

    [[nodiscard]] bool is_empty() const { return said == body.size() && !trailers && !ends; }
  };
  struct Half {
    Way way = Way::pass;
    std::optional<Block> head;      ///< that has come and is not passed on
    std::string body;               ///< likewise
    std::optional<Block> trailers;  ///< likewise
    bool began = false;             ///< its head has come
    bool came_whole = false;
    bool gathered = false;    ///< the transaction has the body
    bool said_whole = false;  ///< or never will be
    Queue queue;
    Http2Window window{};
  };
  struct Stream {
    std::uint32_t number = 0;          ///< the program's
    std::uint32_t server = 0;          ///< the server's; 0: it knows nothing of it
    std::shared_ptr<Editing> editing;  ///< null: no gate wants it, or its exchange has ended
    Half halves[2];                    ///< by Direction
    bool continued = false;            ///< we have said 100 to the program
    std::optional<std::uint32_t> reset_after;  ///< the server's RST_STREAM behind its answer
    std::size_t counted = 0;                   ///< bytes of it in share_

    [[nodiscard]] Half& half(flow::Direction direction) {
      return halves[static_cast<int>(direction)];
    }
  };
  struct Frame {
    std::size_t length = 0;
    std::uint8_t type = 0;
    std::uint8_t flags = 0;
    std::uint32_t stream = 0;  ///< as its sender numbers it
  };
  enum class State : std::uint8_t {
    header,
    gather,  ///< the frame is read as a whole
    pass,    ///< its payload is passed on as it comes
    keep,    ///< it is not
  };
  /// What comes from one side.
  struct Lane {
    State state = State::header;
    bool begun = false;      ///< its first frame has, which is SETTINGS (RFC 9113 section 3.4)
    std::string gathered{};  ///< of a frame, from its header on
    std::size_t left = 0;    ///< of its payload
    std::size_t body = 0;    ///< of its payload, so far (DATA that is kept)
    Frame frame{};
    Frame first{};                                        ///< of a header block
    std::string frames{};                                 ///< of a header block, as they came
    std::uint64_t blocks = 0;                             ///< that have come
    std::uint64_t passed_blocks = 0;                      ///< that were passed on as they came
    std::unique_ptr<http::Http2Compressor> compressor{};  ///< null: all were
    std::uint32_t initial_window = 0;
    std::uint32_t table = 0;             ///< what the receiver's may occupy, in bytes
    Http2Window window{};                ///< of the connection
    std::size_t uncredited = 0;          ///< bytes, of all queues
    std::string out{};                   ///< to be said
    std::deque<std::size_t> splits{};    ///< offsets in it at which a piece ends
    std::string behind{};                ///< to be said behind the frame that is being passed on
    std::deque<std::uint32_t> queued{};  ///< streams with a queue, in turn
  };

  // Frames.
  bool begin_frame(Direction direction);
  bool begin_data(Direction direction);
  bool begin_other(Direction direction);
  bool fail(const char* why);
  bool end_frame(Direction direction);
  void end_data(Direction direction, bool kept);
  bool whole_frame(Direction direction, std::string frame);
  void reset_frame(Direction direction, std::string frame);
  void window_frame(Direction direction, std::string frame);
  void priority_frame(Direction direction, std::string frame);
  void priority_update_frame(Direction direction, std::string frame);
  void goaway_frame(Direction direction, std::string frame);
  void settings_agreed(Direction direction);
  [[nodiscard]] std::optional<std::uint32_t> receivers_number(Direction direction,
                                                              std::uint32_t stream);
  void renumber_dependency(std::string& frame, std::size_t at);

  // Header blocks.
  void block_done(Direction direction);
  void program_block(Block block);
  void server_block(Block block);
  void open(std::uint32_t number, Block block);
  void trailers(Stream& stream, Direction direction, Block block);
  void say_block(Direction direction, std::uint32_t stream, Block block, bool changed = false);
  void say_promise(Block block);
  [[nodiscard]] bool passes_raw(Direction direction, const Block& block);
  [[nodiscard]] std::string compressed(Direction direction, const http::Http2Head& head);

  // What the gate says.
  void ask(Stream& stream, Stage stage);
  void act(Stream& stream, Stage stage, Decision decision);
  void resumed(std::uint32_t number, Stage stage, Decision decision);
  void message_whole(Stream& stream, Direction direction);
  void message_cut(Stream& stream, Direction direction);
  void gather(Stream& stream, Direction direction);
  void pass_on(Stream& stream, Direction direction);
  bool apply_edits(Stream& stream, Direction direction, Block& head);
  static void replace_trailers(Half& half, const http::Fields& trailers);
  static void leave_out_body(Half& half);
  void say_held_window(Stream& stream);
  void number_for_server(Stream& stream);
  void refuse_unsent(std::uint32_t newest);
  void cut_responses();
  void answer(Stream& stream);
  void reset_by_gate(Stream& stream);

  // Flow control.
  void credit(Direction direction, std::uint32_t stream, Http2Window& window, std::size_t bytes);
  void credit_connection(Direction direction, std::size_t bytes);
  void credit_stream(Direction direction, Stream& stream, std::size_t bytes);
  void flush(Direction direction);
  [[nodiscard]] bool flush(Stream& stream, Direction direction);
  void say_body(Stream& stream, Direction direction);
  [[nodiscard]] static std::uint32_t absorb(Http2Window& window, std::uint32_t increment,
                                            std::size_t uncredited);
  void set_uncredited(Queue& queue, Direction direction, std::size_t bytes);
  void keep_bytes(Stream& stream, Direction direction, std::string_view bytes);
  void account(Stream& stream);

  [[nodiscard]] Stream* find(Direction direction, std::uint32_t stream);
  [[nodiscard]] Stream* find(std::uint32_t number);
  [[nodiscard]] const Stream* find(std::uint32_t number) const;
  [[nodiscard]] Stream& begin_stream(std::uint32_t number);
  [[nodiscard]] Stream& carried(std::uint32_t number);
  [[nodiscard]] bool is_before(std::uint32_t stream) const {
    return stream % 2 == 0 || stream <= before_;
  }
  void say_whole(Stream& stream, Direction direction);
  void forget(std::uint32_t number);
  [[nodiscard]] bool must_wait(Direction direction) const;
  void put(Direction direction, std::string_view frames);
  void put_apart(Direction direction, std::string_view frame);
  [[nodiscard]] Lane& lane(Direction direction) { return lanes_[static_cast<int>(direction)]; }
  [[nodiscard]] const Lane& lane(Direction direction) const {
    return lanes_[static_cast<int>(direction)];
  }
  [[nodiscard]] const http::Http2Reader& reader(Direction direction) const {
    return direction == Direction::request ? requests_ : responses_;
  }
  /// As the receiver of a direction has it.
  [[nodiscard]] static std::uint32_t number_in(Direction direction, const Stream& stream) {
    return direction == Direction::request ? stream.server : stream.number;
  }

  FlowRecorder& recorder_;
  const http::Http2Reader& requests_;
  const http::Http2Reader& responses_;
  Owner& owner_;
  MemoryShare share_;
  Lane lanes_[2];  ///< by Direction
  /// The program's streams up to this number were opened before; they pass.
  std::uint32_t before_;
  std::uint32_t newest_;               ///< of the program's numbers
  std::uint32_t newest_passed_;        ///< of the server's numbers of the program's streams
  bool renumbered_ = false;            ///< a stream has another number for the server
  bool takes_no_more_ = false;         ///< the server: no streams that it does not know
  bool has_left_[2] = {false, false};  ///< the sender of a direction, by Direction
  const char* error_ = nullptr;        ///< see error()
  std::unordered_map<std::uint32_t, std::unique_ptr<Stream>> streams_;  ///< opened since
  std::unordered_map<std::uint32_t, std::uint32_t> by_server_;          ///< the program's numbers
  /// Of the block that is being read.
  std::optional<http::Http2Head> head_;
  std::uint32_t promised_ = 0;
  std::uint32_t undecided_ = 0;  ///< its stream, whose gate has yet to be asked; 0: none
};

}  // namespace mitm::intercept
