// The words of options that have a few, and what they stand for.
#pragma once

#include "mitm/cli/option_types.h"

namespace mitm::cli::option_choices {

using option_types::Choice;

inline constexpr Choice<Family> kFamilies[] = {
    {"both", Family::both}, {"ipv4", Family::ipv4}, {"ipv6", Family::ipv6}};
inline constexpr Choice<divert::EngineChoice> kEngines[] = {
    {"auto", divert::EngineChoice::best},
    {"packet", divert::EngineChoice::packet},
    {"redirect", divert::EngineChoice::redirect}};
inline constexpr Choice<bool> kQuicActions[] = {{"block", true}, {"allow", false}};
inline constexpr Choice<PacketFilter> kDialects[] = {{"nft", PacketFilter::nft},
                                                     {"darwin", PacketFilter::darwin},
                                                     {"freebsd", PacketFilter::freebsd},
                                                     {"openbsd", PacketFilter::openbsd}};
inline constexpr Choice<Ui> kUis[] = {{"dump", Ui::dump}};
inline constexpr Choice<Format> kFormats[] = {{"text", Format::text}, {"jsonl", Format::jsonl}};
inline constexpr Choice<FileFormat> kFileFormats[] = {
    {"text", FileFormat::text},     {"jsonl", FileFormat::jsonl},   {"har", FileFormat::har},
    {"mitm", FileFormat::mitm},     {"pcapng", FileFormat::pcapng}, {"curl", FileFormat::curl},
    {"httpie", FileFormat::httpie}, {"wget", FileFormat::wget},     {"fetch", FileFormat::fetch},
    {"python", FileFormat::python}, {"raw", FileFormat::raw},       {"csv", FileFormat::csv}};
inline constexpr Choice<format::MitmVersion> kMitmVersions[] = {{"17", format::MitmVersion::v17},
                                                                {"21", format::MitmVersion::v21}};
inline constexpr Choice<Colour> kColours[] = {
    {"auto", Colour::automatic}, {"always", Colour::always}, {"never", Colour::never}};
inline constexpr Choice<int> kTlsVersions[] = {{"1.0", TLS1_VERSION},
                                               {"1.1", TLS1_1_VERSION},
                                               {"1.2", TLS1_2_VERSION},
                                               {"1.3", TLS1_3_VERSION}};
inline constexpr Choice<intercept::ErrorPage> kErrorPages[] = {
    {"browsers", intercept::ErrorPage::browsers},
    {"always", intercept::ErrorPage::always},
    {"never", intercept::ErrorPage::never}};

}  // namespace mitm::cli::option_choices
