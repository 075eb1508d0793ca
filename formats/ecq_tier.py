"""Decodes ecq-tier segments and chunks with numpy: a short reader to check ecq-tier.md against, not a fast one."""
import struct

import numpy as np


def padded(size, multiple=64):
    return -(-size // multiple) * multiple  # -(-a // b) rounds up


def plane_symbols(data, count, width):
    """The symbols of a stream in groups of 64: each bit of all of them, then the next."""
    planes = np.unpackbits(data[:padded(count) // 8 * width].reshape(-1, width, 8), axis=2, bitorder="little")
    symbols = (planes << np.arange(width, dtype=np.uint8)[:, None]).sum(1, dtype=np.uint8).ravel()
    assert not symbols[count:].any(), "a stream is not filled with zeros"
    return symbols[:count]


def first_symbols(data, count, bits):
    """Tier 1: of each group of 512 codes the fields of 4, 2 and 1 bits, whose bytes are 64 neighbouring codes apart."""
    groups, symbols, at = data.reshape(-1, bits * 64), np.zeros((count // 512, 512), np.uint8), 0
    for field in (width for width in (4, 2, 1) if bits & width):
        vectors = groups[:, at:at + 64 * field].reshape(-1, field, 1, 64)
        shifts = np.arange(0, 8, field, dtype=np.uint8)[:, None]
        symbols = symbols << field | (vectors >> shifts & ((1 << field) - 1)).reshape(-1, 512)
        at += 64 * field
    return symbols.ravel()


def segment_codes(segment):
    """The codes, as bytes, of one segment, an array of bytes."""
    counts = segment[:28].view("<u4").tolist()
    raw_bits, singles, *widths = segment[28:35].tolist()
    count, choice_count, *lower_counts, escape_count = counts
    assert count > 0 and count % 512 == 0, "a segment has a wrong number of codes"
    if not widths[0]:
        assert not segment[4:64].any() and segment.size == 64 + count, "a verbatim segment has something else"
        return segment[64:].copy()
    last, at, streams = (1 << widths[0]) - 1, 64, []
    for symbols, width in zip([choice_count, *lower_counts], [1, *widths[1:]]):
        streams.append(plane_symbols(segment[at:], symbols, width))
        at += padded(symbols) // 8 * width
    escapes, first = segment[at:at + escape_count], padded(at + escape_count)
    bits = widths[0] + raw_bits
    assert segment.size == first + count // 8 * bits, "a segment has a wrong size"
    stored = first_symbols(segment[first:], count, bits)
    symbols, palette = stored >> raw_bits, segment[35:64]

    # Where the palette has the base of each symbol of tier 1: paired ones have two, and a choice.
    paired = (symbols >= singles) & (symbols < last)
    assert paired.sum() == choice_count, "a segment has a wrong number of choices"
    place = np.where(paired, 2 * symbols.astype(int) - singles, symbols)
    place[paired] += streams[0]
    bases, palette = palette[place], palette[2 * last - singles:]
    unknown = np.flatnonzero(symbols == last)
    for symbols, width in zip(streams[1:], widths[1:]):
        assert unknown.size == symbols.size, "the tiers of a segment disagree"
        is_last = symbols == (1 << width) - 1
        bases[unknown[~is_last]] = palette[symbols[~is_last]]
        unknown, palette = unknown[is_last], palette[(1 << width) - 1:]
    assert unknown.size == escape_count, "a segment has a wrong number of escapes"
    bases[unknown] = escapes
    return bases + (stored & ((1 << raw_bits) - 1))


def slot_bytes(chunk):
    """What an ecq-tier chunk (shard.md) decodes to: its slot, as bytes."""
    count, slot_panels, columns, _ = struct.unpack_from("<IIII", chunk)
    data, codes, taken = np.frombuffer(chunk, np.uint8), 16 * padded(columns, 32), 0
    panels = np.zeros((slot_panels, 64 + codes), np.uint8)
    for offset, size in struct.iter_unpack("<II", chunk[16:16 + 8 * count]):
        held = min(max(1, 65536 // codes), slot_panels - taken)
        # Only the last segment may hold fewer; its codes begin with their number.
        while held > 0 and data[offset + 64 * held:][:4].view("<u4") != held * codes:
            held -= 1
        piece, taken = panels[taken:taken + held], taken + held
        piece[:, :64] = data[offset:offset + 64 * held].reshape(held, 64)
        piece[:, 64:] = segment_codes(data[offset + 64 * held:offset + size]).reshape(held, codes)
    return panels.ravel()
