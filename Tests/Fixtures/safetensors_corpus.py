#!/usr/bin/env python3
"""Writes safetensors files, good and bad, and what must become of each.

  safetensors_corpus.py FOLDER    FOLDER/NUMBER.safetensors and FOLDER/cases.json

cases.json lists, per file: its name, the row of the case table (docs/reliability.md; 0 for good files), whether Lamina
must accept it, why Lamina and the safetensors package differ if they do, and what that package says: whether it accepts
the file, and the tensors it finds. The same files on every machine.
"""
import json
import pathlib
import struct
import sys

import safetensors

SIZES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
         "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8}

# Where Lamina is stricter than the package, and why.
DUPLICATE = "a name listed twice: readers disagree on which tensor it is"
NAME = "names end up in logs and on terminals: 1 to 512 bytes, no control characters"
RANK = "no known tensor has more than 8 dimensions"
DIMENSION = "no dimension above 2^47, even beside a zero: address arithmetic stays far from overflow"
DTYPE = "an element type that no supported architecture stores"
DEPTH = "entries need 3 levels; deeper ones are not of this format"
TEXT = "strings above 1 MiB are no metadata of a checkpoint"
BRACE = "the format wants '{' first; some versions of the package skip white space before it"
FORM = "another spelling that the package's parser happens to take; the format's own text has one"
# And where it is not.
UNUSED_NUMBER = "a number in a member that nobody reads is checked for its syntax only"


def file(header, data=b"", length=None):
    header = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def entry(dtype="U8", shape="[1]", offsets="[0,1]", more=""):
    return f'{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}{more}}}'


def one(value, name="w", data=b"\x01"):
    """A file with one tensor, whose header's value is `value`."""
    return file(f'{{"{name}":{value}}}', data)


class Corpus:
    def __init__(self):
        self.cases, self.contents = [], []

    def add(self, row, name, content, good, differs=None):
        assert name not in {case["name"] for case in self.cases}, name
        self.cases.append({"name": name, "row": row, "good": good, "differs": differs})
        self.contents.append(content)

    def good(self, name, content, differs=None):
        self.add(0, name, content, True, differs)

    def bad(self, row, name, content, differs=None):
        self.add(row, name, content, False, differs)

    def write(self, folder):
        for number, (case, content) in enumerate(zip(self.cases, self.contents)):
            case["file"] = f"{number:03}.safetensors"
            (folder / case["file"]).write_bytes(content)
            try:
                tensors = safetensors.deserialize(content)
                case["reference"] = sorted(f"{name} {tensor['dtype']} {list(tensor['shape'])}" for name, tensor in tensors)
            except safetensors.SafetensorError as error:
                case["reference_error"] = str(error)
        (folder / "cases.json").write_text(json.dumps(self.cases))


def good_files(corpus):
    corpus.good("no tensors", file("{}"))
    corpus.good("no tensors, padded", file("{}" + " " * 6))
    corpus.good("padded with every kind of white space", file("{}\t\n\r "))
    for dtype, size in SIZES.items():
        for shape, count in [([], 1), ([0], 0), ([3], 3), ([1, 0, 3], 0), ([5, 7], 35), ([1] * 8, 1)]:
            data = bytes(index * 37 % 2 if dtype == "BOOL" else index * 37 % 256 for index in range(count * size))
            corpus.good(f"{dtype} {shape}", one(entry(dtype, json.dumps(shape), f"[0,{len(data)}]"), data=data))
    for name in ["a", "模型.權重", "\N{GRINNING FACE}", "e\u0301", "\xe9", "a b", "../../etc/passwd", "/", "'", "a" * 512,
                 "__metadata", "__metadata__ ", "null", "\u00a0", "\ufeff", "{}", "dtype"]:
        corpus.good(f"name {name[:20]!a}", one(entry(), name=name))
    for text in ["\\u0061", "\\\"", "\\\\", "\\/", "\\ud83d\\ude00", "a\\u00e9", "\\u007e"]:
        corpus.good(f"name written {text}", one(entry(), name=text))
    metadata = ['{}', '{"format":"pt"}', '{"":""}', '{"a":"1","b":"2"}', '{"a":"1","a":"2"}', '{"a":"\\n\\u0000"}',
                '{"dtype":"U8"}', '{ "a" : "b" }', '{"a":"' + "x" * 70000 + '"}']
    for text in metadata:
        corpus.good(f"metadata {text[:40]}", file(f'{{"__metadata__":{text}}}'))
        corpus.good(f"metadata {text[:40]} before a tensor", file(f'{{"__metadata__":{text},"w":{entry()}}}', b"\0"))
    corpus.good("metadata behind a tensor", file(f'{{"w":{entry()},"__metadata__":{{"a":"b"}}}}', b"\0"))
    corpus.good("keys in another order", one('{"data_offsets":[0,1],"shape":[1],"dtype":"U8"}'))
    corpus.good("white space everywhere",
                one(' {\n "dtype" :\t"U8" , "shape"\r:[ 1 ] ,"data_offsets": [\n0 , 1 ]\n} ', name="w"))
    corpus.good("escapes in keys and dtype", one('{"\\u0064type":"\\u00558","shape":[1],"data_offsets":[0,1]}'))
    for text in ['1', '-1.5e-3', '"x"', 'true', 'null', '[1]', '{"b":1}', '{"dtype":1}', '-0', '1e308']:
        corpus.good(f"entry with another member {text}", one(entry(more=f',"a":{text}')))
    corpus.good("entry with members given twice", one(entry(more=',"a":1,"a":2')))
    a, b = entry("U16", "[2]", "[0,4]"), entry("U8", "[3]", "[4,7]")
    corpus.good("two tensors", file(f'{{"a":{a},"b":{b}}}', bytes(7)))
    corpus.good("two tensors listed backwards", file(f'{{"b":{b},"a":{a}}}', bytes(7)))
    empty = entry("F32", "[0]", "[4,4]")
    corpus.good("empty tensor between", file(f'{{"a":{a},"e":{empty},"b":{b}}}', bytes(7)))
    corpus.good("empty tensors on one place", file(f'{{"f":{empty},"b":{b},"e":{empty},"a":{a}}}', bytes(7)))
    corpus.good("empty tensor at the end", file(f'{{"a":{a},"e":{empty}}}', bytes(4)))
    corpus.good("names equal after normalisation",
                file(f'{{"e\u0301":{entry()},"\xe9":{entry(offsets="[1,2]")}}}', bytes(2)))
    corpus.good("a tensor at an odd offset", file(f'{{"a":{entry()},"b":{entry("F64", "[1]", "[1,9]")}}}', bytes(9)))
    many = ",".join(f'"{index}":{entry(offsets=f"[{index},{index + 1}]")}' for index in range(1000))
    corpus.good("a thousand tensors", file("{" + many + "}", bytes(1000)))
    corpus.good("largest dimension beside a zero", one(entry(shape="[140737488355328,0]", offsets="[0,0]"), data=b""))
    corpus.good("huge number in another member", one(entry(more=',"a":1e400')), differs=UNUSED_NUMBER)


def rows_1_to_5(corpus):
    for count in range(8):
        corpus.bad(1, f"{count} bytes", bytes(range(1, count + 1)))
    whole = one(entry())
    for length in [2**64 - 1, 2**63, 2**63 - 1, 2**32, 100_000_001, 100_000_000, len(whole) - 7, 0, 1]:
        corpus.bad(2, f"header length {length}", struct.pack("<Q", length) + whole[8:])
    corpus.bad(2, "nothing but a length", struct.pack("<Q", 0))
    for name, raw in {"byte FF": b"\xff", "overlong slash": b"\xc0\xaf", "overlong in three": b"\xe0\x80\xaf",
                      "surrogate": b"\xed\xa0\x80", "above U+10FFFF": b"\xf4\x90\x80\x80", "cut short": b"\xc3",
                      "continuation": b"\x80", "UTF-16": "w".encode("utf-16")}.items():
        text = entry().encode()
        corpus.bad(3, f"name not UTF-8: {name}", file(b'{"' + raw + b'":' + text + b"}", b"\0"))
        corpus.bad(3, f"metadata not UTF-8: {name}",
                   file(b'{"__metadata__":{"a":"' + raw + b'"},"w":' + text + b"}", b"\0"))
    corpus.bad(3, "not UTF-8 between values", file(b'{\xff"w":' + entry().encode() + b"}", b"\0"))
    for text in ["\\ud800", "\\udc00", "\\ud800\\u0041", "\\ud800x", "\\ud800\\ud800", "\\uDBFF\\n", "\\u12", "\\u12g4",
                 "\\x41", "\\", "\\u+123"]:
        corpus.bad(3, f"name with escape {text}", one(entry(), name=text))
        corpus.bad(3, f"metadata with escape {text}", file(f'{{"__metadata__":{{"a":"{text}"}}}}'))
    for byte in [0, 9, 10, 31]:
        corpus.bad(3, f"raw control character {byte}", one(entry(), name=chr(byte)))
    header = f'{{"w":{entry()}}}'
    for cut in range(0, len(header), 3):
        corpus.bad(4, f"header cut at {cut}", file(header[:cut], b"\0"))
    for tail in ["x", "{}", "]", ",", "\0", " \0", "//", "\ufeff"]:
        corpus.bad(4, f"text behind the header: {tail!a}", file(header + tail, b"\0"))
    for lead in [" ", "\n"]:
        corpus.bad(4, f"text before the header: {lead!a}", file(lead + header, b"\0"), differs=BRACE)
    for lead in ["\ufeff", "[", "x", "\0"]:
        corpus.bad(4, f"text before the header: {lead!a}", file(lead + header, b"\0"))
    for text in ["[]", "null", "1", '"a"', "true", "", "[" * 100_000, '{"a":' * 100_000, "{", "}", "{]", "{,}",
                 '{"a"}', '{"a":}', '{:1}', "{1:2}", "{'a':1}", '{"a":1,}', "{}{}", "{/**/}"]:
        corpus.bad(4, f"header {text[:12]}", file(text))
    corpus.bad(4, "trailing comma", file(f'{{"w":{entry()},}}', b"\0"))
    corpus.bad(4, "trailing comma in an entry", one(entry(more=",")))
    corpus.bad(4, "two commas", file(f'{{"a":{entry()},,"b":{entry(offsets="[1,2]")}}}', bytes(2)))
    corpus.bad(4, "member deeper than four", one(entry(more=',"a":' + "[" * 5 + "]" * 5)), differs=DEPTH)
    corpus.bad(4, "member deeper than any parser", one(entry(more=',"a":' + "[" * 90_000 + "]" * 90_000)))
    corpus.bad(5, "the same entry twice", file(f'{{"w":{entry()},"w":{entry()}}}', b"\0"), differs=DUPLICATE)
    corpus.bad(5, "a name twice, spelled differently", file(f'{{"w":{entry()},"\\u0077":{entry()}}}', b"\0"),
               differs=DUPLICATE)
    corpus.bad(5, "a name twice with two places", file(f'{{"w":{entry()},"w":{entry(offsets="[1,2]")}}}', bytes(2)))
    corpus.bad(5, "metadata twice", file('{"__metadata__":{},"__metadata__":{}}'))
    for key, value in [("dtype", '"U8"'), ("shape", "[1]"), ("data_offsets", "[0,1]")]:
        corpus.bad(5, f"{key} twice", one(entry(more=f',"{key}":{value}')))


def rows_6_to_8(corpus):
    for text in ["[1,0]", "[2,1]", "[-1,0]", "[-1,1]", "[0,-1]", "[0,1e0]", "[0,1e3]", "[0,1.0]", "[0,4.0]", '["0","1"]',
                 "[0,1,2]", "[0]", "[]", "7", "null", "{}", '"[0,1]"', "[0,18446744073709551616]",
                 "[0,18446744073709551615]", "[0,9223372036854775808]", "[0,9223372036854775807]", "[-0,1]", "[00,1]",
                 "[0,01]", "[0,+1]", "[0,0x1]", "[0,1,]", "[,0,1]", "[0 1]", "[true,1]", "[null,1]", "[[0],[1]]",
                 "[0,1E0]", "[0,1.]", "[0,.1]", "[0,NaN]", "[0,Infinity]", "[0,1_0]", "[" + "1" * 400 + ",1]"]:
        corpus.bad(6, f"data_offsets {text[:30]}", one(entry(offsets=text)))
    for value in ["{}", "null", "1", '"U8"', "[]", '{"dtype":"U8"}', '{"dtype":"U8","shape":[1]}',
                  '{"shape":[1],"data_offsets":[0,1]}', '{"dtype":"U8","data_offsets":[0,1]}',
                  '{"dtype":"U8","shape":[1],"offsets":[0,1]}', '{"DTYPE":"U8","shape":[1],"data_offsets":[0,1]}']:
        corpus.bad(6, f"entry {value[:46]}", one(value))
    corpus.bad(6, "entry as a list", one('["U8",[1],[0,1]]'), differs=FORM)
    a = entry("U8", "[4]", "[0,4]")
    for name, begin, end, data in [("overlaps", 3, 5, 5), ("overlaps by all", 0, 4, 4), ("is inside", 1, 3, 4),
                                   ("leaves a hole", 5, 7, 7), ("leaves a large hole", 2**40, 2**40 + 2, 8)]:
        text = entry("U8", f"[{end - begin}]", f"[{begin},{end}]")
        corpus.bad(7, f"second tensor {name}", file(f'{{"a":{a},"b":{text}}}', bytes(data)))
    corpus.bad(7, "empty tensor inside another", file(f'{{"a":{a},"b":{entry("U8", "[0]", "[2,2]")}}}', bytes(4)))
    corpus.bad(7, "empty tensor behind the data", file(f'{{"a":{a},"b":{entry("U8", "[0]", "[5,5]")}}}', bytes(4)))
    corpus.bad(7, "first tensor not at 0", one(entry(offsets="[1,2]"), data=bytes(2)))
    for count in [0, 1, 3]:
        corpus.bad(7, f"data of {count} instead of 4 bytes", file(f'{{"a":{a}}}', bytes(count)))
    for name, tail in {"a byte": b"\0", "a zip": b"PK\x05\x06" + bytes(18), "a PDF": b"%PDF-1.7\n%%EOF"}.items():
        corpus.bad(7, f"{name} behind the data", file(f'{{"a":{a}}}', bytes(4) + tail))
        corpus.bad(7, f"{name} behind no tensors", file("{}", tail))
    for text in ["[2]", "[0]", "[]x", "[1.0]", "[1e0]", "[-1]", '["1"]', "1", "null", "{}", "[01]", "[1,]", "[[1]]",
                 "[true]", "[9223372036854775807]", "[9223372036854775808]", "[18446744073709551616]",
                 "[9223372036854775807,3]", "[4294967296,4294967296]", "[1099511627776,1099511627776,0]",
                 "[140737488355329]", "[2,2,2]", "[" + "1," * 99 + "2]"]:
        corpus.bad(8, f"shape {text[:40]}", one(entry(shape=text)))
    corpus.bad(8, "bytes overflow", one(entry("F64", "[2305843009213693952]", "[0,0]"), data=b""))
    corpus.bad(8, "rank 9", one(entry(shape="[1,1,1,1,1,1,1,1,1]")), differs=RANK)
    corpus.bad(8, "rank 70", one(entry(shape="[" + "1," * 69 + "1]")), differs=RANK)
    for shape in ["[0,1099511627776,1099511627776]", "[140737488355329,0]", "[0,18446744073709551615]"]:
        corpus.bad(8, f"empty shape {shape}", one(entry(shape=shape, offsets="[0,0]"), data=b""), differs=DIMENSION)
    for dtype, size in SIZES.items():
        text = entry(dtype, "[3]", f"[0,{3 * size + 1}]")
        corpus.bad(8, f"{dtype} with a byte too many", one(text, data=bytes(3 * size + 1)))


def rows_9_to_12(corpus):
    for dtype, bits in {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E8M0": 8, "C64": 64, "F8_E4M3FNUZ": 8,
                        "F8_E5M2FNUZ": 8}.items():
        corpus.bad(9, f"dtype {dtype}", one(entry(dtype, "[4]", f"[0,{bits // 2}]"), data=bytes(bits // 2)),
                   differs=DTYPE)
    for dtype in ["F4", "F6_E2M3"]:
        corpus.bad(9, f"dtype {dtype}, no whole bytes", one(entry(dtype, "[1]", "[0,1]")))
    for dtype in ["f32", "F32 ", " F32", "", "FLOAT", "F128", "I4", "Q4_0", "F32\\u0000", "BF", "__metadata__"]:
        corpus.bad(9, f"dtype {dtype!r}", one(entry(dtype, "[1]", "[0,4]"), data=bytes(4)))
    for value in ["null", "1", "[]", "true", "{}"]:
        corpus.bad(9, f"dtype is {value}", one(f'{{"dtype":{value},"shape":[1],"data_offsets":[0,1]}}'))
    corpus.bad(9, "dtype as an object", one('{"dtype":{"U8":null},"shape":[1],"data_offsets":[0,1]}'), differs=FORM)
    many = ",".join(f'"{index}":{entry()}' for index in range(1000))
    corpus.bad(10, "a thousand entries on one byte", file("{" + many + "}", b"\0"))
    many = ",".join(f'"w":{entry()}' for index in range(1000))
    corpus.bad(10, "a thousand times one entry", file("{" + many + "}", b"\0"), differs=DUPLICATE)
    for text in ["1", "[]", "true", '"a"', '{"a":1}', '{"a":null}', '{"a":{}}', '{"a":["b"]}', '{"a":true}', '{1:"a"}',
                 '{"a":"b",}']:
        corpus.bad(11, f"metadata is {text}", file(f'{{"__metadata__":{text}}}'))
    corpus.bad(11, "metadata is null", file('{"__metadata__":null}'), differs=FORM)
    corpus.bad(11, "metadata of 2 MB", file('{"__metadata__":{"a":"' + "x" * 2_000_000 + '"}}'), differs=TEXT)
    for text in ["\\n", "\\u0000", "a\\u001b[2J", "\\u007f", "\\u0085", "\u0085", "", "n" * 513, "n" * 10_000,
                 "\xe9" * 257]:
        corpus.bad(12, f"name {text[:12]!a} of {len(text)}", one(entry(), name=text), differs=NAME)


def main():
    corpus = Corpus()
    good_files(corpus)
    rows_1_to_5(corpus)
    rows_6_to_8(corpus)
    rows_9_to_12(corpus)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    corpus.write(folder)


main()
