#include "mitm/store/record_codec.h"

#include <memory>

#include "mitm/store/fields_codec.h"

namespace mitm::store {
namespace {

// The numbers of fields are those of the files that exist: none is ever given another meaning.

enum HttpField : unsigned {
  kRequestScheme = 1,
  kRequestAuthority,
  kRequestTarget,
  kRequestFields,
  kRequestTrailers,
  kRequestEnded,
  kResponseReason,
  kResponseFields,
  kResponseTrailers,
  kInterim,
  kResponseEnded,
  kRefused,
  kEdits,
};
enum EditsField : unsigned {
  kEditor = 1,
  kAnswered,
  kEditedMethod,
  kEditedTarget,
  kEditedRequestFields,
  kEditedRequestTrailers,
  kEditedRequestBody,
  kEditedStatus,
  kEditedReason,
  kEditedResponseFields,
  kEditedResponseTrailers,
  kEditedResponseBody,
  kEditedRequestCut,
  kEditedResponseCut,
};
enum PairField : unsigned { kName = 1, kValue };
enum InterimField : unsigned { kInterimStatus = 1, kInterimAt, kInterimFields };
enum TcpField : unsigned { kStarttls = 1 };
enum DnsField : unsigned { kAnswer = 1, kRcode };
enum AnswerField : unsigned { kAnswerName = 1, kAnswerType, kAnswerTtl, kAnswerData };
enum MessageField : unsigned {
  kMessageKind = 1,
  kCompressed,
  kCut,
  kBytes,
  kWireBytes,
  kCode,
  kMessageReason,
  kMessageName,
  kMessageId,
};
enum ProcessField : unsigned { kArgument = 1, kTicks, kGroup, kOtherName, kImage, kAncestor };
enum AncestorField : unsigned { kAncestorTicks = 1, kAncestorName };

void encode_offset(FieldsEncoder& out, unsigned field, flow::Offset offset) {
  if (offset) out.number(field, static_cast<std::uint64_t>(offset->count()));
}

flow::Offset offset_of(std::uint64_t number) {
  return std::chrono::microseconds(static_cast<std::int64_t>(number));
}

/// Names and values by turns.
void encode_fields(FieldsEncoder& out, unsigned field, const http::Fields& fields) {
  if (fields.empty()) return;
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const auto [name, value] = fields[i];
    bytes += FieldsEncoder::size_of_element(kName, name.size()) +
             FieldsEncoder::size_of_element(kValue, value.size());
  }
  char* at = out.begin_element(field, bytes);
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const auto [name, value] = fields[i];
    at = FieldsEncoder::write_element(at, kName, name);
    at = FieldsEncoder::write_element(at, kValue, value);
  }
}

bool decode_fields(std::string_view blob, http::Fields& fields) {
  FieldsDecoder decoder{blob};
  std::string_view name;
  while (const auto value = decoder.next()) {
    if (value->field == kName) name = value->text;
    if (value->field == kValue) fields.add(name, value->text);
  }
  return !decoder.failed();
}

void encode_interim(FieldsEncoder& out, const flow::InterimResponse& interim) {
  std::string blob;
  FieldsEncoder fields{blob};
  fields.number(kInterimStatus, static_cast<std::uint64_t>(interim.status));
  encode_offset(fields, kInterimAt, interim.at);
  encode_fields(fields, kInterimFields, interim.fields);
  out.element(kInterim, blob);
}

bool decode_interim(std::string_view blob, flow::InterimResponse& interim) {
  FieldsDecoder decoder{blob};
  bool whole = true;
  while (const auto value = decoder.next()) {
    if (value->field == kInterimStatus) interim.status = static_cast<int>(value->number);
    if (value->field == kInterimAt) interim.at = offset_of(value->number);
    if (value->field == kInterimFields) whole = decode_fields(value->text, interim.fields) && whole;
  }
  return whole && !decoder.failed();
}

bool decode_answer(std::string_view blob, flow::DnsFlow::Answer& answer) {
  FieldsDecoder decoder{blob};
  while (const auto value = decoder.next()) {
    if (value->field == kAnswerName) answer.name = value->text;
    if (value->field == kAnswerType) answer.type = value->text;
    if (value->field == kAnswerTtl) answer.ttl = static_cast<std::uint32_t>(value->number);
    if (value->field == kAnswerData) answer.data = value->text;
  }
  return !decoder.failed();
}

bool decode_ancestor(std::string_view blob, procmap::Ancestor& ancestor) {
  FieldsDecoder decoder{blob};
  while (const auto value = decoder.next()) {
    if (value->field == kAncestorTicks) ancestor.id.start_ticks = value->number;
    if (value->field == kAncestorName) ancestor.other_names.emplace_back(value->text);
  }
  return !decoder.failed();
}

/// Bytes that are kept of each body that was changed; the original is kept as others are.
constexpr std::size_t kEditedBody = 64 << 10;

void encode_edits(FieldsEncoder& out, const flow::Edits& edits) {
  std::string blob;
  FieldsEncoder fields{blob};
  for (const auto& name : edits.by) fields.element(kEditor, name);
  if (edits.answered) fields.number(kAnswered, 1);
  if (const auto& request = edits.request) {
    fields.element(kEditedMethod, request->method);
    fields.text(kEditedTarget, request->target);
    encode_fields(fields, kEditedRequestFields, request->fields);
    encode_fields(fields, kEditedRequestTrailers, request->trailers);
    const flow::Body body = request->body.first(kEditedBody);
    fields.text(kEditedRequestBody, body.text());
    if (body.is_cut()) fields.number(kEditedRequestCut, 1);
  }
  if (const auto& response = edits.response) {
    fields.number(kEditedStatus, static_cast<std::uint64_t>(response->status));
    fields.text(kEditedReason, response->reason);
    encode_fields(fields, kEditedResponseFields, response->fields);
    encode_fields(fields, kEditedResponseTrailers, response->trailers);
    const flow::Body body = response->body.first(kEditedBody);
    fields.text(kEditedResponseBody, body.text());
    if (body.is_cut()) fields.number(kEditedResponseCut, 1);
  }
  out.element(kEdits, blob);
}

/// A body of which more was there than is kept.
flow::Body cut_body(const flow::Body& body) {
  flow::BodyRecorder recorder;
  const std::string text = body.text();
  recorder.append(text, text.size());
  recorder.cut();
  return recorder.body();
}

bool set_edited_request(const FieldsDecoder::Value& value, flow::Edits& edits) {
  const auto request = [&]() -> flow::Request& {
    return edits.request ? *edits.request : edits.request.emplace();
  };
  switch (value.field) {
    case kEditedMethod:
      request().method = value.text;
      return true;
    case kEditedTarget:
      request().target = value.text;
      return true;
    case kEditedRequestFields:
      return decode_fields(value.text, request().fields);
    case kEditedRequestTrailers:
      return decode_fields(value.text, request().trailers);
    case kEditedRequestBody:
      request().body = flow::Body(value.text);
      return true;
    case kEditedRequestCut:
      request().body = cut_body(request().body);
      return true;
    default:
      return true;
  }
}

bool set_edited_response(const FieldsDecoder::Value& value, flow::Edits& edits) {
  const auto response = [&]() -> flow::Response& {
    return edits.response ? *edits.response : edits.response.emplace();
  };
  switch (value.field) {
    case kEditedStatus:
      response().status = static_cast<int>(value.number);
      return true;
    case kEditedReason:
      response().reason = value.text;
      return true;
    case kEditedResponseFields:
      return decode_fields(value.text, response().fields);
    case kEditedResponseTrailers:
      return decode_fields(value.text, response().trailers);
    case kEditedResponseBody:
      response().body = flow::Body(value.text);
      return true;
    case kEditedResponseCut:
      response().body = cut_body(response().body);
      return true;
    default:
      return true;
  }
}

bool decode_edits(std::string_view blob, flow::Edits& edits) {
  FieldsDecoder decoder{blob};
  bool whole = true;
  while (const auto value = decoder.next()) {
    if (value->field == kEditor) edits.by.emplace_back(value->text);
    if (value->field == kAnswered) edits.answered = value->number != 0;
    whole = set_edited_request(*value, edits) && whole;
    whole = set_edited_response(*value, edits) && whole;
  }
  return whole && !decoder.failed();
}

bool set_request(const FieldsDecoder::Value& value, flow::Request& request) {
  switch (value.field) {
    case kRequestScheme:
      request.scheme = value.text;
      return true;
    case kRequestAuthority:
      request.authority = value.text;
      return true;
    case kRequestTarget:
      request.target = value.text;
      return true;
    case kRequestFields:
      return decode_fields(value.text, request.fields);
    case kRequestTrailers:
      return decode_fields(value.text, request.trailers);
    case kRequestEnded:
      request.ended = offset_of(value.number);
      return true;
    default:
      return true;
  }
}

bool set_response(const FieldsDecoder::Value& value, flow::Response& response) {
  switch (value.field) {
    case kResponseReason:
      response.reason = value.text;
      return true;
    case kResponseFields:
      return decode_fields(value.text, response.fields);
    case kResponseTrailers:
      return decode_fields(value.text, response.trailers);
    case kInterim:
      return decode_interim(value.text, response.interim.emplace_back());
    case kResponseEnded:
      response.ended = offset_of(value.number);
      return true;
    default:
      return true;
  }
}

}  // namespace

void encode(const flow::HttpFlow& flow, std::string& out) {
  FieldsEncoder fields{out};
  const flow::Request& request = flow.request;
  fields.text(kRequestScheme, request.scheme);
  fields.text(kRequestAuthority, request.authority);
  fields.text(kRequestTarget, request.target);
  encode_fields(fields, kRequestFields, request.fields);
  encode_fields(fields, kRequestTrailers, request.trailers);
  encode_offset(fields, kRequestEnded, request.ended);
  const flow::Response& response = flow.response;
  fields.text(kResponseReason, response.reason);
  encode_fields(fields, kResponseFields, response.fields);
  encode_fields(fields, kResponseTrailers, response.trailers);
  for (const auto& interim : response.interim) encode_interim(fields, interim);
  encode_offset(fields, kResponseEnded, response.ended);
  fields.text(kRefused, flow.refused);
  if (flow.edits) encode_edits(fields, *flow.edits);
}

bool decode(std::string_view blob, flow::HttpFlow& flow) {
  FieldsDecoder decoder{blob};
  bool whole = true;
  while (const auto value = decoder.next()) {
    whole = set_request(*value, flow.request) && whole;
    whole = set_response(*value, flow.response) && whole;
    if (value->field == kRefused) flow.refused = value->text;
    if (value->field == kEdits) {
      auto edits = std::make_shared<flow::Edits>();
      whole = decode_edits(value->text, *edits) && whole;
      flow.edits = std::move(edits);
    }
  }
  return whole && !decoder.failed();
}

void encode(const flow::TcpFlow& flow, std::string& out) {
  FieldsEncoder{out}.text(kStarttls, flow.starttls);
}

bool decode(std::string_view blob, flow::TcpFlow& flow) {
  FieldsDecoder decoder{blob};
  while (const auto value = decoder.next()) {
    if (value->field == kStarttls) flow.starttls = value->text;
  }
  return !decoder.failed();
}

void encode(const flow::DnsFlow& flow, std::string& out) {
  FieldsEncoder fields{out};
  fields.text(kRcode, flow.rcode);
  std::string blob;
  for (const auto& answer : flow.answers) {
    blob.clear();
    FieldsEncoder one{blob};
    one.text(kAnswerName, answer.name);
    one.text(kAnswerType, answer.type);
    one.number(kAnswerTtl, answer.ttl);
    one.text(kAnswerData, answer.data);
    fields.element(kAnswer, blob);
  }
}

bool decode(std::string_view blob, flow::DnsFlow& flow) {
  FieldsDecoder decoder{blob};
  bool whole = true;
  while (const auto value = decoder.next()) {
    if (value->field == kRcode) flow.rcode = value->text;
    if (value->field == kAnswer)
      whole = decode_answer(value->text, flow.answers.emplace_back()) && whole;
  }
  return whole && !decoder.failed();
}

void encode(const flow::StreamMessage& message, std::string& out) {
  FieldsEncoder fields{out};
  const http::Message& what = message.what;
  fields.number(kMessageKind, static_cast<std::uint64_t>(what.kind));
  if (what.compressed) fields.number(kCompressed, 1);
  if (what.cut) fields.number(kCut, 1);
  fields.number(kBytes, what.bytes);
  fields.number(kWireBytes, what.wire_bytes);
  if (what.code != 0) fields.number(kCode, static_cast<std::uint64_t>(what.code));
  fields.text(kMessageReason, what.reason);
  fields.text(kMessageName, what.name);
  fields.text(kMessageId, what.id);
}

bool decode(std::string_view blob, flow::StreamMessage& message) {
  FieldsDecoder decoder{blob};
  http::Message& what = message.what;
  bool whole = true;
  while (const auto value = decoder.next()) {
    switch (value->field) {
      case kMessageKind:
        whole = value->number <= static_cast<std::uint64_t>(http::Message::Kind::trailers);
        if (whole) what.kind = static_cast<http::Message::Kind>(value->number);
        break;
      case kCompressed:
        what.compressed = value->number != 0;
        break;
      case kCut:
        what.cut = value->number != 0;
        break;
      case kBytes:
        what.bytes = value->number;
        break;
      case kWireBytes:
        what.wire_bytes = value->number;
        break;
      case kCode:
        what.code = static_cast<int>(value->number);
        break;
      case kMessageReason:
        what.reason = value->text;
        break;
      case kMessageName:
        what.name = value->text;
        break;
      case kMessageId:
        what.id = value->text;
        break;
      default:
        break;
    }
  }
  return whole && !decoder.failed();
}

void encode(const procmap::ProcessFacts& facts, std::string& out) {
  FieldsEncoder fields{out};
  for (const auto& argument : facts.argv) fields.element(kArgument, argument);
  fields.number(kTicks, facts.id.start_ticks);
  for (const gid_t group : facts.groups) fields.number(kGroup, std::uint64_t{group});
  for (const auto& name : facts.other_names) fields.element(kOtherName, name);
  fields.number(kImage, facts.image);
  std::string blob;
  for (const auto& ancestor : facts.ancestors) {
    blob.clear();
    FieldsEncoder one{blob};
    one.number(kAncestorTicks, ancestor.id.start_ticks);
    for (const auto& name : ancestor.other_names) one.element(kAncestorName, name);
    fields.element(kAncestor, blob);
  }
}

bool decode(std::string_view blob, procmap::ProcessFacts& facts) {
  FieldsDecoder decoder{blob};
  bool whole = true;
  std::size_t ancestor = 0;
  while (const auto value = decoder.next()) {
    if (value->field == kArgument) facts.argv.emplace_back(value->text);
    if (value->field == kTicks) facts.id.start_ticks = value->number;
    if (value->field == kGroup) facts.groups.push_back(static_cast<gid_t>(value->number));
    if (value->field == kOtherName) facts.other_names.emplace_back(value->text);
    if (value->field == kImage) facts.image = value->number;
    if (value->field == kAncestor && ancestor < facts.ancestors.size())
      whole = decode_ancestor(value->text, facts.ancestors[ancestor++]) && whole;
  }
  return whole && !decoder.failed();
}

}  // namespace mitm::store
