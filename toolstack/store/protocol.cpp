// SPDX-License-Identifier: MIT
#include "store/protocol.hpp"

#include <pb_decode.h>
#include <pb_encode.h>

#include <algorithm>
#include <memory>

namespace pvn::store {
namespace {

// The length before a message of at most `largest` bytes: 1 to 3 bytes.
struct Length {
    Parsed what;
    std::size_t value, bytes;
};
Length length_of(std::span<std::uint8_t const> stream, std::size_t largest)
{
    std::size_t value = 0;
    for (std::size_t i = 0; i < 3; ++i) {
        if (i == stream.size()) return {Parsed::partial, 0, 0};
        value |= static_cast<std::size_t>(stream[i] & 0x7f) << 7 * i;
        if ((stream[i] & 0x80) == 0) return {value <= largest ? Parsed::message : Parsed::broken, value, i + 1};
    }
    return {Parsed::broken, 0, 0};
}

Parsed parse(std::span<std::uint8_t const> stream, pb_msgdesc_t const* fields, void* message, std::size_t largest, std::size_t& used)
{
    auto const length = length_of(stream, largest);
    if (length.what != Parsed::message) return length.what;
    if (stream.size() - length.bytes < length.value) return Parsed::partial;
    auto input = pb_istream_from_buffer(stream.data() + length.bytes, length.value);
    used = length.bytes + length.value;
    return pb_decode(&input, fields, message) ? Parsed::message : Parsed::broken;
}

std::vector<std::uint8_t> encode(pb_msgdesc_t const* fields, void const* message)
{
    std::vector<std::uint8_t> bytes(largest_request + 64);
    auto output = pb_ostream_from_buffer(bytes.data(), bytes.size());
    if (!pb_encode_ex(&output, fields, message, PB_ENCODE_DELIMITED)) return {};  // bounded by store.options: cannot be
    bytes.resize(output.bytes_written);
    return bytes;
}

std::uint32_t number(Error error) { return static_cast<std::uint32_t>(error); }

Domain domain_of(std::uint32_t number, bool& valid)
{
    valid = valid && number <= 0x7fef;
    return static_cast<Domain>(number);
}

}  // namespace

Parsed parse(std::span<std::uint8_t const> stream, pvn_store_Request& request, std::size_t& used)
{
    return parse(stream, pvn_store_Request_fields, &request, pvn_store_Request_size, used);
}
Parsed parse(std::span<std::uint8_t const> stream, pvn_store_FromStore& message, std::size_t& used)
{
    return parse(stream, pvn_store_FromStore_fields, &message, pvn_store_FromStore_size, used);
}
Parsed parse(std::span<std::uint8_t const> stream, pvn_store_Record& record, std::size_t& used)
{
    return parse(stream, pvn_store_Record_fields, &record, pvn_store_Record_size, used);
}
std::vector<std::uint8_t> encode(pvn_store_Request const& request) { return encode(pvn_store_Request_fields, &request); }
std::vector<std::uint8_t> encode(pvn_store_FromStore const& message) { return encode(pvn_store_FromStore_fields, &message); }
std::vector<std::uint8_t> encode(pvn_store_Record const& record) { return encode(pvn_store_Record_fields, &record); }

pvn_store_Permissions to_message(Permissions const& permissions)
{
    auto message = blank<pvn_store_Permissions>();
    message.owner = permissions.owner;
    message.others_read = permissions.others_read;
    message.others_write = permissions.others_write;
    for (auto const& entry : permissions.entries) message.access[message.access_count++] = {entry.domain, entry.read, entry.write};
    return message;
}

Result<Permissions> from_message(pvn_store_Permissions const& message)
{
    bool valid = true;
    Permissions permissions{domain_of(message.owner, valid), message.others_read, message.others_write, {}};
    for (auto const& entry : std::span{message.access}.first(message.access_count))
        permissions.entries.push_back({domain_of(entry.domain, valid), entry.read, entry.write});
    if (!valid) return Fail{Error::invalid};
    return permissions;
}

pvn_store_FromStore answer(Store& store, Connection connection, pvn_store_Request const& request)
{
    auto message = blank<pvn_store_FromStore>();
    message.which_what = pvn_store_FromStore_reply_tag;
    auto& reply = message.what.reply;
    reply.id = request.id;
    auto const transaction = request.transaction;
    auto const& what = request.what;
    auto const done = [&](auto const& result) {
        if (!result) reply.error = number(result.error());
        return result.has_value();
    };
    auto const value_of = [](pvn_store_Write const& w) { return std::string_view{reinterpret_cast<char const*>(w.value.bytes), w.value.size}; };
    switch (request.which_what) {
    case pvn_store_Request_read_tag:
        if (auto const value = store.read(connection, transaction, what.read.path); done(value)) {
            reply.which_what = pvn_store_Reply_value_tag;
            reply.what.value.size = static_cast<pb_size_t>(value->size());
            std::ranges::copy(*value, reply.what.value.bytes);
        }
        break;
    case pvn_store_Request_write_tag: done(store.write(connection, transaction, what.write.path, value_of(what.write))); break;
    case pvn_store_Request_list_tag:
        if (auto const listing = store.list(connection, transaction, what.list.path, what.list.after); done(listing)) {
            reply.which_what = pvn_store_Reply_names_tag;
            reply.what.names.more = listing->more;
            for (auto const& name : listing->names) set_text(reply.what.names.name[reply.what.names.name_count++], name);
        }
        break;
    case pvn_store_Request_remove_tag: done(store.remove(connection, transaction, what.remove.path)); break;
    case pvn_store_Request_get_permissions_tag:
        if (auto const permissions = store.permissions(connection, transaction, what.get_permissions.path); done(permissions)) {
            reply.which_what = pvn_store_Reply_permissions_tag;
            reply.what.permissions = to_message(*permissions);
        }
        break;
    case pvn_store_Request_set_permissions_tag:
        if (auto const permissions = from_message(what.set_permissions.permissions); done(permissions))
            done(store.set_permissions(connection, transaction, what.set_permissions.path, *permissions));
        break;
    case pvn_store_Request_watch_tag: done(store.watch(connection, what.watch.path, what.watch.depth, what.watch.token)); break;
    case pvn_store_Request_unwatch_tag: done(store.unwatch(connection, what.unwatch.path, what.unwatch.token)); break;
    case pvn_store_Request_begin_tag:
        if (auto const begun = store.begin(connection); done(begun)) {
            reply.which_what = pvn_store_Reply_transaction_tag;
            reply.what.transaction = *begun;
        }
        break;
    case pvn_store_Request_end_tag: done(store.end(connection, transaction, what.end.commit)); break;
    default: reply.error = number(Error::not_implemented);
    }
    return message;
}

pvn_store_FromStore message(Event const& event)
{
    auto message = blank<pvn_store_FromStore>();
    message.which_what = pvn_store_FromStore_event_tag;
    message.what.event.token = event.token;
    set_text(message.what.event.path, event.path);
    return message;
}

pvn_store_Record record_of(Store::Operation const& operation)
{
    auto record = blank<pvn_store_Record>();
    record.domain = operation.domain;
    record.has_request = true;
    auto& what = record.request.what;
    auto const path = text_of(operation.path);
    switch (operation.kind) {
    case Store::Operation::Kind::write:
        record.request.which_what = pvn_store_Request_write_tag;
        set_text(what.write.path, path);
        what.write.value.size = static_cast<pb_size_t>(operation.value.size());
        std::ranges::copy(operation.value, what.write.value.bytes);
        break;
    case Store::Operation::Kind::remove:
        record.request.which_what = pvn_store_Request_remove_tag;
        set_text(what.remove.path, path);
        break;
    case Store::Operation::Kind::set_permissions:
        record.request.which_what = pvn_store_Request_set_permissions_tag;
        set_text(what.set_permissions.path, path);
        what.set_permissions.has_permissions = true;
        what.set_permissions.permissions = to_message(operation.permissions);
        break;
    }
    return record;
}

std::optional<Store::Operation> operation_of(pvn_store_Record const& record)
{
    auto const& what = record.request.what;
    auto const with = [&](Store::Operation::Kind kind, char const* path) -> std::optional<Store::Operation> {
        auto names = parse_path(path, dom0);
        if (!names || record.domain > 0x7fef) return std::nullopt;
        return Store::Operation{kind, static_cast<Domain>(record.domain), std::move(*names), {}, {}};
    };
    switch (record.request.which_what) {
    case pvn_store_Request_write_tag: {
        auto operation = with(Store::Operation::Kind::write, what.write.path);
        if (operation) operation->value.assign(reinterpret_cast<char const*>(what.write.value.bytes), what.write.value.size);
        return operation;
    }
    case pvn_store_Request_remove_tag: return with(Store::Operation::Kind::remove, what.remove.path);
    case pvn_store_Request_set_permissions_tag: {
        auto operation = with(Store::Operation::Kind::set_permissions, what.set_permissions.path);
        auto permissions = from_message(what.set_permissions.permissions);
        if (!permissions) return std::nullopt;
        if (operation) operation->permissions = std::move(*permissions);
        return operation;
    }
    default: return std::nullopt;
    }
}

}  // namespace pvn::store
