// Dialogues over HTTP/2 in which a gate is asked: both ends in words.
#pragma once

#include <string>
#include <utility>

#include "tests/mitm/http2_dialogue.h"
#include "tests/mitm/http2_frames.h"
#include "tests/mitm/test_gate.h"
#include "tests/test.h"

namespace gated {

using namespace frames;
using dialogue::Engine;
using dialogue::Peer;

inline constexpr const char* kGet = ":method: GET;:scheme: https;:authority: h.test;:path: ";

inline List post(std::string path, const std::string& length = {}) {
  List list = get(std::move(path));
  list[0].second = "POST";
  if (!length.empty()) list.emplace_back("content-length", length);
  return list;
}

/// Both ends in words. What the connection begins with has been heard.
struct Talk {
  explicit Talk(Engine& engine, const dialogue::Http2Settings& of_program = {},
                const dialogue::Http2Settings& of_server = {})
      : ends(engine.open()) {
    program.say(std::string(kPreface) + settings(of_program));
    CHECK(at_server() == "settings\n");
    server.say(settings(of_server) + acknowledgement());
    CHECK(at_program() == "settings\nsettings acknowledged\n");
    program.say(acknowledgement());
    CHECK(at_server() == "settings acknowledged\n");
  }
  std::string at_server() { return by_program.read(server.hear(1 << 20)); }
  std::string at_program() { return by_server.read(program.hear(1 << 20)); }

  std::pair<Peer, Peer> ends;
  Peer& program = ends.first;
  Peer& server = ends.second;
  Packer asks, answers;
  Transcript by_program, by_server;
};

inline std::string line(const char* what, std::uint32_t stream, const std::string& rest) {
  return std::string(what) + " " + std::to_string(stream) + " " + rest + "\n";
}

}  // namespace gated
