// Dialogues over HTTP/2 on which both ends have agreed.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tests/mitm/connection_dialogue.h"
#include "tests/mitm/http2_frames.h"
#include "tests/test.h"

namespace dialogue {

using Http2Settings = std::vector<std::pair<std::uint16_t, std::uint32_t>>;

/// By prior knowledge, in the clear.
struct Http2Dialogue {
  explicit Http2Dialogue(Engine& engine, const Http2Settings& of_program = {})
      : ends(engine.open()) {
    passes(program, server, std::string(frames::kPreface) + frames::settings(of_program));
    passes(server, program, frames::settings() + frames::acknowledgement());
    passes(program, server, frames::acknowledgement());
  }

  std::pair<Peer, Peer> ends;
  Peer& program = ends.first;
  Peer& server = ends.second;
  frames::Packer asks, answers;
};

/// Inside TLS, with h.test.
struct Http2TlsDialogue {
  explicit Http2TlsDialogue(Engine& engine) : ends(engine.open()) {
    REQUIRE(shake(program, client.get(), server, origin.get(), "h.test", {"h2"}).program);
    passes(program, server, std::string(frames::kPreface) + frames::settings());
    passes(server, program, frames::settings());
  }

  mitm::tls::SslCtxPtr client = rig::ours().client();
  mitm::tls::SslCtxPtr origin = rig::theirs().server("h.test");
  std::pair<Peer, Peer> ends;
  Peer& program = ends.first;
  Peer& server = ends.second;
  frames::Packer asks, answers;
};

}  // namespace dialogue
