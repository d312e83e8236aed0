// libmnl's attribute writers behind a type that owns its buffer.
#include "pfctl/netlink_message.h"

#include <arpa/inet.h>
#include <endian.h>
#include <linux/netfilter/nfnetlink.h>

namespace pfctl {

NetlinkMessage::NetlinkMessage(std::uint16_t type, std::uint16_t flags, std::uint32_t sequence,
                               std::uint8_t family, std::uint16_t resource)
    : header_(mnl_nlmsg_put_header(room_.data())) {
  header_->nlmsg_type = type;
  header_->nlmsg_flags = NLM_F_REQUEST | flags;
  header_->nlmsg_seq = sequence;
  auto* extra = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(header_, sizeof(nfgenmsg)));
  extra->nfgen_family = family;
  extra->version = NFNETLINK_V0;
  extra->res_id = htons(resource);
}

void NetlinkMessage::text(std::uint16_t type, const char* value) {
  mnl_attr_put_strz(header_, type, value);
}

void NetlinkMessage::number(std::uint16_t type, std::uint32_t value) {
  mnl_attr_put_u32(header_, type, htonl(value));
}

void NetlinkMessage::big_number(std::uint16_t type, std::uint64_t value) {
  mnl_attr_put_u64(header_, type, htobe64(value));
}

void NetlinkMessage::bytes(std::uint16_t type, std::span<const unsigned char> value) {
  mnl_attr_put(header_, type, value.size(), value.data());
}

std::string_view NetlinkMessage::view() const {
  return {room_.data(), header_->nlmsg_len};
}

}  // namespace pfctl
