"""Random texts for scripts that compare tokenizers: letters of many scripts, marks, spaces, words. A module, not a
program.
"""
ALPHABETS = [
    "abcdefgh", "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789", "  ", " \n\t\r", "\n", "'’\"",
    ".,;:!?-_/\\()[]{}<>|@#$%^&*+=~`", "äöüßéèñçøåÄÖÜÉİıſK", "中文字符测试你好世界", "かなカナー", "한국어가각", "ёжикПриветΑΩάς",
    "مرحباשלום", "हिन्दीไทย", "\u0301\u0308\u0323\u0327\u0338", "😀👨\u200d👩\u200d👧🏽🇩🇪", "ﬁﬀ㍿①½Å℃ｆｕｌｌ",
    "\u00a0\u2003\u3000\u1680\u2028\u0085\u200b\ufeff\u180e", "\x00\x01\x0b\x0c\x1f\x7f\x9f", "▁Ġ<>", "٣४Ⅷ²", "ǅʰªºაᲐꙀ\u0345",
]
WORDS = ["the", "Hello", "world", "it's", "WE'LL", "I'M", "don't", "camelCase", "snake_case", "x=1;", "//", "<0x41>",
         "<0xE4>", "<unk>", "<s>", "</s>", "<|x|>", "<pad>", "ord", "word", "MiXed", "ＦＵＬＬ", "   ", "\n\n", "1234567"]
SPACE = "▁"


def random_text(rng, extra=()):
    parts = []
    for _ in range(rng.randrange(0, 14)):
        kind = rng.random()
        if kind < 0.35:
            alphabet = rng.choice(ALPHABETS)
            parts.append("".join(rng.choice(alphabet) for _ in range(rng.randrange(1, 9))))
        elif kind < 0.7:
            parts.append(rng.choice(WORDS + list(extra)))
        elif kind < 0.95:
            parts.append(" " * rng.randrange(1, 4))
        else:
            code = rng.choice([rng.randrange(0x250), rng.randrange(0x3000), rng.randrange(0x110000)])
            parts.append(chr(code) if not 0xD800 <= code < 0xE000 else "?")
    return "".join(parts)


def texts(rng, extra=(), count=60):
    return [random_text(rng, extra) for _ in range(count)]
