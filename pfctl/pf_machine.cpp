#include "pfctl/pf_machine.h"

#include "pfctl/pf_status.h"

namespace pfctl {

const char* netstat_of(Dialect dialect) {
  return dialect == Dialect::darwin ? "/usr/sbin/netstat" : "/usr/bin/netstat";
}

base::Result<base::Finished> run_or_fail(const Machine& machine,
                                         const std::vector<std::string>& argv,
                                         std::string_view what, std::string_view input) {
  auto output = machine.run(argv, input);
  if (!output)
    return base::Error{fmt::format("cannot {}: {}", what, output.error().text),
                       output.error().os_code};
  if (output->status == 0) return output;
  const std::string said = complaint(output->err);
  return base::failure(
      "cannot {}: {}", what,
      said.empty() ? fmt::format("{} ended with {}", argv.front(), output->status) : said);
}

base::Result<bool> has_pf(const Machine& machine) {
  if (machine.dialect != Dialect::freebsd) return true;
  const auto module = machine.run({kKldstat, "-q", "-m", "pf"}, {});
  if (!module) return module.error();
  return module->status == 0;
}

}  // namespace pfctl
