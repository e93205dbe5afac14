// Recovery of a store whose first segment holds foreign bytes: it opens or refuses with a text, and
// what opened once opens again with the same messages. First byte odd: the bytes are records to be
// (type, length, payload), with good checksums.
#include "../tests/unit/queue_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_records(struct fake_file *f, const uint8_t *data, size_t size)
{
    AUTO_BUF struct buf out = {0};
    uint64_t sequence = 1;
    while (size >= 3) {
        size_t len = data[1] | (size_t)data[2] << 8;
        struct record r = {.sequence = sequence++,
                           .segment = 1,
                           .at = SEGMENT_HEADER_BYTES + (uint32_t)out.len,
                           .commit_at = SEGMENT_HEADER_BYTES,
                           .type = (uint8_t)(data[0] % 10)};
        if (len > size - 3)
            len = size - 3;
        if (out.len + record_bytes(len) > 16000)
            break;
        struct span part = {(const char *)data + 3, len};
        record_write(&r, &part, 1, &out);
        data += 3 + len;
        size -= 3 + len;
    }
    memcpy(f->data + SEGMENT_HEADER_BYTES, buf_view(&out).data, out.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct rig r;
    rig_init(&r);
    r.segment_bytes = 16384;
    CHECK(rig_open(&r) == OK);
    rig_close(&r); // nothing was flushed: the segment is empty
    struct fake_file *f = fake_find(&r.disk, "/store/00000001.seg");
    if (size > 0 && data[0] % 2 == 1)
        put_records(f, data + 1, size - 1);
    else if (size > 0)
        memcpy(f->data + SEGMENT_HEADER_BYTES, data + 1, size - 1 < 16000 ? size - 1 : 16000);
    if (rig_open(&r) == OK) {
        struct queues_stats before, after;
        queues_stats(r.queues, &before);
        rig_turn(&r);
        rig_close(&r);
        CHECK(rig_open(&r) == OK);
        queues_stats(r.queues, &after);
        CHECK(before.messages >= after.messages); // some may have expired
    } else {
        CHECK(r.error.msg[0] != '\0');
    }
    rig_release(&r);
    return 0;
}
