"""Varied strings for comparing tokenizers: many scripts, and everything that trips one up.

* The same strings on every machine and Python: `varied(count)` draws from one seed, kind by kind.
* Kinds: words of 30 languages mixed, random characters of a block, white space, digits and
  punctuation, emoji sequences, combining marks, very long words, control characters, special
  tokens in the text, contractions, HTML and broken encodings.
"""

import random

SENTENCES = (
    "All human beings are born free and equal in dignity and rights.",
    "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
    "Tous les êtres humains naissent libres et égaux en dignité et en droits.",
    "Todos los seres humanos nacen libres e iguales en dignidad y derechos.",
    "Todos os seres humanos nascem livres e iguais em dignidade e em direitos.",
    "Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti.",
    "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw.",
    "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv.",
    "Minden emberi lény szabadon születik és egyenlő méltósága és joga van.",
    "Toate ființele umane se nasc libere și egale în demnitate și în drepturi.",
    "Alla människor är födda fria och lika i värde och rättigheter.",
    "Kaikki ihmiset syntyvät vapaina ja tasavertaisina arvoltaan ja oikeuksiltaan.",
    "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. İSTANBUL ığdır",
    "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi.",
    "Все люди рождаются свободными и равными в своём достоинстве и правах.",
    "Всі люди народжуються вільними і рівними у своїй гідності та правах.",
    "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι. ΟΔΟΣ ΣΊΣΥΦΟΣ",
    "Բոլոր մարդիկ ծնվում են ազատ ու հավասար իրենց արժանապատվությամբ։",
    "ყველა ადამიანი იბადება თავისუფალი და თანასწორი თავისი ღირსებითა.",
    "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.",
    "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق.",
    "تمام افراد بشر آزاد به دنیا می‌آیند و از لحاظ حیثیت با هم برابرند.",
    "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता प्राप्त है।",
    "সমস্ত মানুষ স্বাধীনভাবে সমান মর্যাদা এবং অধিকার নিয়ে জন্মগ্রহণ করে।",
    "மனிதப் பிறிவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்.",
    "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "人人生而自由，在尊严和权利上一律平等。",
    "人人生而自由，在尊嚴和權利上一律平等。",
    "すべての人間は、生れながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "ሰብዓዊ ፍጡራን ሁሉ ነጻ ሆነው ተወለዱ።",
)
BLOCKS = (
    *((0x20, 0x7E), (0xA0, 0xFF), (0x100, 0x24F), (0x250, 0x2AF), (0x370, 0x3FF), (0x400, 0x52F)),
    *((0x531, 0x556), (0x591, 0x5C7), (0x600, 0x6FF), (0x900, 0x97F), (0xE01, 0xE5B)),
    *((0xF00, 0xFDA), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x137C), (0x13A0, 0x13F5)),
    *((0x1780, 0x17F9), (0x1E00, 0x1EFF), (0x1F00, 0x1FFE), (0x2000, 0x206F)),
    *((0x2090, 0x209C), (0x20A0, 0x20BF)),
    *((0x2100, 0x218B), (0x2190, 0x22FF), (0x2460, 0x24FF), (0x2600, 0x27BF), (0x2C00, 0x2C5F)),
    *((0x3000, 0x30FF), (0x3131, 0x318E), (0x3200, 0x33FF), (0x4E00, 0x9FFF), (0xA640, 0xA69F)),
    *((0xAC00, 0xD7A3), (0xE000, 0xE0FF), (0xF900, 0xFAD9), (0xFB00, 0xFB4F), (0xFE00, 0xFE6B)),
    *((0xFF01, 0xFFEE), (0x10300, 0x1032F), (0x10400, 0x1044F), (0x12000, 0x12399)),
    *((0x1D400, 0x1D7FF), (0x1F1E6, 0x1F1FF), (0x1F300, 0x1F6FF), (0x1F900, 0x1FAFF)),
    *((0x20000, 0x2A6DF), (0xE0020, 0xE007F)),
)
SPACES = (" ", "  ", "\t", "\n", "\r\n", "\xa0", "\u2003", "\u3000", "\u200b", "\u2028", "\x0b")
MARKS = "\u0300\u0301\u0302\u0303\u0308\u030a\u0327\u0328\u0331\u20e3\ufe0f\u200d\u05b8\u064e"
EMOJI = ("👩‍🚒", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇨🇭", "👍🏽", "❤️", "☺", "1️⃣", "🧑🏿‍🤝‍🧑🏻", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "😀")
SPECIALS = (
    "<|startoftext|>", "<|endoftext|>", "<start_of_text>", "<end_of_text>", "[CLS]", "[SEP]",
    "[PAD]", "[UNK]", "[MASK]", "<start>", "<end>", "<pad>", "</w>", "##ing", "Ġ",
)  # fmt: skip
ENGLISH = (
    "it's", "It’s", "don't", "WE'VE", "I'M", "they'll", "you'd", "'tis", "rock'n'roll", "'S",
    "o'clock's", "'ſ", "re're", "U.S.A.", "e-mail", "snake_case", "C++", "100%", "$9.99", "#1",
)  # fmt: skip
WEB = (
    "&amp;", "&amp;lt;", "&quot;", "&#39;", "&#x1F600;", "&nbsp;", "&eacute;", "&notanentity;",
    "cafÃ©", "â€œquotedâ€\x9d", "schÃ¶n", "ﬁne ﬂow", "ＦＵＬＬ　ｗｉｄｔｈ", "“curly” ‘quotes’",
    "…", "\x1b[31mred\x1b[0m", "<b>bold</b>", "https://example.org/a?b=c&d=%20",
)  # fmt: skip


def _characters(draw: random.Random, low: int, high: int, most: int) -> str:
    return "".join(chr(draw.randint(low, high)) for _ in range(draw.randint(1, most)))


def _words(draw: random.Random, most: int = 8) -> list[str]:
    return [draw.choice(draw.choice(SENTENCES).split()) for _ in range(draw.randint(1, most))]


def _mixed(draw: random.Random) -> str:
    change = draw.choice((str, str.upper, str.title, str.swapcase))
    return change(" ".join(_words(draw)))


def _block(draw: random.Random) -> str:
    low, high = draw.choice(BLOCKS)
    return " ".join(_characters(draw, low, high, 9) for _ in range(draw.randint(1, 4)))


def _anything(draw: random.Random) -> str:
    return "".join(_characters(draw, *draw.choice(BLOCKS), 2) for _ in range(draw.randint(1, 12)))


def _spaced(draw: random.Random) -> str:
    return "".join(draw.choice(SPACES) + word for word in [*_words(draw), ""])


def _digits(draw: random.Random) -> str:
    signs = "0123456789.,:;-+/*()[]{}!?%$€£#@&_=~^`'\"\\|<>°²½٣४५六 "
    return "".join(draw.choice(signs) for _ in range(draw.randint(1, 30)))


def _emoji(draw: random.Random) -> str:
    parts = [draw.choice((draw.choice(EMOJI), *_words(draw, 2))) for _ in range(6)]
    return draw.choice(("", " ")).join(parts)


def _marked(draw: random.Random) -> str:
    return "".join(
        letter + "".join(draw.choice(MARKS) for _ in range(draw.choice((0, 0, 1, 1, 2, 5))))
        for letter in " ".join(_words(draw, 3))
    )


def _long(draw: random.Random) -> str:
    return draw.choice(("a", "ab", "ß", "語", "é", "x1", "🙂", "-")) * draw.randint(40, 400)


def _control(draw: random.Random) -> str:
    return "".join(draw.choice((chr(draw.randint(0, 31)), "\x7f", "\x85", "\xad", "\ufeff",
                                "\ufffd", *_words(draw, 1))) for _ in range(8))  # fmt: skip


def _from(*choices: tuple[str, ...]):
    def make(draw: random.Random) -> str:
        pool = [one for choice in choices for one in choice]
        parts = [draw.choice((draw.choice(pool), *_words(draw, 1))) for _ in range(5)]
        return draw.choice(("", " ", " ")).join(parts)

    return make


KINDS = {
    "words": _mixed,
    "block": _block,
    "anything": _anything,
    "spaces": _spaced,
    "digits": _digits,
    "emoji": _emoji,
    "marks": _marked,
    "long": _long,
    "control": _control,
    "specials": _from(SPECIALS),
    "english": _from(ENGLISH),
    "web": _from(WEB, ENGLISH),
}


def varied(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """(kind, string) pairs: the sentences themselves, then the kinds in turn."""
    draw = random.Random(seed)
    found = [("sentence", sentence) for sentence in SENTENCES]
    kinds = list(KINDS.items())
    while len(found) < count:
        kind, make = kinds[len(found) % len(kinds)]
        found.append((kind, make(draw)))
    return found[:count]
