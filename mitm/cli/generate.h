// The files of conf/ and man/ that are made from the option table.
#pragma once

#include <string>
#include <string_view>

namespace mitm::cli {

/// conf/osproxy.json and conf/osproxy.schema.json, made from the table.
std::string sample_config();
std::string config_schema();

/// conf/completion/osproxy.bash and _osproxy (zsh): `script` (conf/completion/*.in) in which the
/// line
/// `@table@` has become commands, options and values.
std::string bash_completion(std::string_view script);
std::string zsh_completion(std::string_view script);

/// A manual page: `prose` (man/*.in, mdoc) in which the line `@options@` has become a list of all
/// options of the command line, and `@keys@` one of all keys of the config file.
std::string manual_page(std::string_view prose);

}  // namespace mitm::cli
