"""Hostile strings: what must never arrive in a payload, whatever field or option a host puts it into.

In: a seed. Out: distinct strings with the kind of each, the kinds in turn. What looks just like a name is not here,
since nobody can tell it from one: a single word, or a few words with hyphens.
"""

import base64
import string
import unicodedata
import uuid
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from random import Random

_KINDS: dict[str, Callable[[Random], str]] = {}

_LOWER, _UPPER, _DIGITS = string.ascii_lowercase, string.ascii_uppercase, string.digits
_BASE62 = string.ascii_letters + _DIGITS
_BASE64URL = _BASE62 + "-_"
_HEX = _DIGITS + "abcdef"

_USERS = "alice bob jdoe mary.smith sam_lee administrator root o.nguyen Priya José müller user42".split()
_HOSTS = (
    "example.com corp.example intranet.acme.io gitlab.internal mail.example.co.uk shop-42.example db01.local".split()
)
_FOLDERS = (
    "src lib app tests docs internal packages components auth billing payments client server api v1 utils node_modules "
    "customer-data Secret_Project my.project 2024 release-1.2 .ssh .aws .config infra terraform www public assets Q3"
).split()
_FILES = "login index main report_final invoice-2024-07 passwords id_rsa README.v2 photo1 k8s".split()
_ENDINGS = (
    "py js ts tsx md txt pdf docx json yaml toml env pem key sqlite3 tar.gz mp3 mp4 h5 7z bak ipynb c rs x509".split()
)
_VERBS = "fix explain rewrite summarise translate debug delete refactor find why does how can review compare".split()
_NOUNS = "login bug invoice table customer API key database patient record salary list merger plan test router".split()
_REST = "please in our shop for the new client before Monday without telling anyone so that it works again".split()
_NAMES = "repo web plan youtube openai gemini gpt-4o o3-mini gemini-2.5-pro claude-code KeyError Http404 Exit".split()


def hostile_strings(count: int, seed: int = 3) -> Iterator[tuple[str, str]]:
    """`count` distinct strings, each as (its kind, the string); the same seed gives the same ones."""
    rng = Random(seed)
    return islice(_distinct(rng), count)


def _distinct(rng: Random) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for name, make in cycle(_KINDS.items()):
        text = make(rng)
        if text not in seen:
            seen.add(text)
            yield name, text


def _kind(make: Callable[[Random], str]) -> Callable[[Random], str]:
    _KINDS[make.__name__.strip("_")] = make
    return make


def _of(rng: Random, alphabet: str, shortest: int, longest: int | None = None) -> str:
    return "".join(rng.choices(alphabet, k=rng.randint(shortest, longest or shortest)))


def _folders(rng: Random, separator: str = "/", fewest: int = 2) -> str:
    return separator.join(rng.choices(_FOLDERS, k=rng.randint(fewest, 6)))


def _file(rng: Random) -> str:
    return f"{rng.choice(_FILES)}.{rng.choice(_ENDINGS)}"


def _word(rng: Random) -> str:
    return _of(rng, _LOWER, 3, 10)


# -- Paths ------------------------------------------------------------------------------------------------------------


@_kind
def _absolute_file(rng: Random) -> str:
    return f"/{rng.choice(('home', 'Users', 'var', 'mnt', 'opt'))}/{_folders(rng)}/{_file(rng)}"


@_kind
def _absolute_folder(rng: Random) -> str:
    return f"/{_folders(rng)}{rng.choice(('', '/'))}"


@_kind
def _home_path(rng: Random) -> str:
    return f"{rng.choice(('~/', '$HOME/', '~' + rng.choice(_USERS) + '/', '${HOME}/'))}{_folders(rng)}"


@_kind
def _relative_file(rng: Random) -> str:
    return f"{rng.choice(('', './', '../', '../../'))}{_folders(rng)}/{_file(rng)}"


@_kind
def _relative_folder(rng: Random) -> str:
    return f"{rng.choice(('', '', '', './', '../'))}{_folders(rng)}/{_word(rng)}"


@_kind
def _one_folder(rng: Random) -> str:
    return f"{_word(rng)}/{_word(rng)}"


@_kind
def _file_alone(rng: Random) -> str:
    return f"{_word(rng)}-{_file(rng)}"


@_kind
def _windows_path(rng: Random) -> str:
    drive = rng.choice("CDEXZ")
    separator = rng.choice(("\\", "\\\\", "/"))
    return f"{drive}:{separator}Users{separator}{rng.choice(_USERS)}{separator}{_folders(rng, separator)}"


@_kind
def _windows_drive(rng: Random) -> str:
    return f"{rng.choice('CDEXZcd')}:{_word(rng)}{rng.choice(('', '.txt', chr(92) + _word(rng)))}"


@_kind
def _windows_share(rng: Random) -> str:
    return f"\\\\{_word(rng)}\\{_folders(rng, chr(92))}"


# -- Addresses --------------------------------------------------------------------------------------------------------


@_kind
def _email(rng: Random) -> str:
    return f"{rng.choice(_USERS)}.{_word(rng)}{rng.choice(('', '+tag', '2'))}@{rng.choice(_HOSTS)}"


@_kind
def _email_written_out(rng: Random) -> str:
    address = f"{_word(rng)}@{rng.choice(_HOSTS)}"
    return rng.choice((f"mailto:{address}", f"<{address}>", f'"{rng.choice(_USERS)}" <{address}>', f"{address},"))


@_kind
def _url(rng: Random) -> str:
    scheme = rng.choice(("https", "http", "ftp", "ssh", "postgres", "s3", "file"))
    return f"{scheme}://{rng.choice(_HOSTS)}/{_folders(rng)}?token={_of(rng, _BASE62, 8)}#{_word(rng)}"


@_kind
def _url_with_password(rng: Random) -> str:
    return f"https://{_word(rng)}:{_of(rng, _BASE62, 12)}@{rng.choice(_HOSTS)}"


@_kind
def _url_without_scheme(rng: Random) -> str:
    return f"{_word(rng)}.{rng.choice(_HOSTS)}/{_folders(rng)}"


@_kind
def _host(rng: Random) -> str:
    return f"{_word(rng)}.{rng.choice(_HOSTS)}{rng.choice(('', ':8080', ':443', '.'))}"


@_kind
def _host_and_port(rng: Random) -> str:
    return f"{rng.choice(('localhost', 'db', _word(rng)))}:{rng.randint(80, 65535)}"


@_kind
def _git_remote(rng: Random) -> str:
    return f"git@{rng.choice(_HOSTS)}:{_word(rng)}/{_word(rng)}.git"


@_kind
def _ip_address(rng: Random) -> str:
    v4 = ".".join(str(rng.randint(0, 255)) for _ in range(4))
    v6 = ":".join(_of(rng, _HEX, 4) for _ in range(8))
    return rng.choice((v4, f"{v4}:8080", f"{v4}/24", v6, f"[{v6}]:80"))


# -- Credentials and ids ----------------------------------------------------------------------------------------------


@_kind
def _openai_key(rng: Random) -> str:
    return rng.choice(("sk-", "sk-proj-", "sk-svcacct-")) + _of(rng, _BASE64URL, 20, 120)


@_kind
def _anthropic_key(rng: Random) -> str:
    return f"sk-ant-api03-{_of(rng, _BASE64URL, 24, 93)}"


@_kind
def _stripe_key(rng: Random) -> str:
    return f"{rng.choice(('sk', 'pk', 'rk'))}_{rng.choice(('live', 'test'))}_{_of(rng, _BASE62, 24)}"


@_kind
def _github_token(rng: Random) -> str:
    fine_grained = f"github_pat_{_of(rng, _BASE62, 22)}_{_of(rng, _BASE62, 59)}"
    return rng.choice((f"gh{rng.choice('pousr')}_{_of(rng, _BASE62, 36)}", fine_grained))


@_kind
def _gitlab_token(rng: Random) -> str:
    return f"glpat-{_of(rng, _BASE64URL, 20)}"


@_kind
def _slack_token(rng: Random) -> str:
    kind = rng.choice("bpasr")
    return f"xox{kind}-{_of(rng, _DIGITS, 11)}-{_of(rng, _DIGITS, 12)}-{_of(rng, _BASE62, 24)}"


@_kind
def _short_slack_token(rng: Random) -> str:
    return f"xox{rng.choice('bpasr')}-{_of(rng, _DIGITS, 4)}-{_of(rng, _LOWER, 6)}"


@_kind
def _aws_key_id(rng: Random) -> str:
    return rng.choice(("AKIA", "ASIA")) + _of(rng, _UPPER + "234567", 16)


@_kind
def _aws_secret(rng: Random) -> str:
    return _of(rng, _BASE62 + "+/", 40)


@_kind
def _google_key(rng: Random) -> str:
    return rng.choice((f"AIza{_of(rng, _BASE64URL, 35)}", f"ya29.{_of(rng, _BASE64URL, 60)}"))


@_kind
def _json_web_token(rng: Random) -> str:
    header, claims = (_base64url(f'{{"{key}":"{_word(rng)}"}}'.encode()) for key in ("alg", "sub"))
    return f"{header}.{claims}.{_of(rng, _BASE64URL, 43)}"


@_kind
def _registry_token(rng: Random) -> str:
    npm, pypi = f"npm_{_of(rng, _BASE62, 36)}", f"pypi-AgEIcHlwaS5vcmc{_of(rng, _BASE64URL, 60, 120)}"
    return rng.choice((npm, pypi))


@_kind
def _model_host_key(rng: Random) -> str:
    prefix, length = rng.choice((("hf_", 34), ("gsk_", 52), ("pplx-", 48), ("xai-", 80), ("r8_", 37), ("nvapi-", 64)))
    return prefix + _of(rng, _BASE62, length)


@_kind
def _hex(rng: Random) -> str:
    text = _of(rng, _HEX, rng.choice((32, 40, 64)))
    return rng.choice((text, text.upper(), f"a{text[1:]}", f"sha256:{text}"))


@_kind
def _base64(rng: Random) -> str:
    return base64.b64encode(rng.randbytes(rng.randint(16, 60))).decode()


@_kind
def _base64_of_text(rng: Random) -> str:
    return _base64url(_prompt(rng).encode())


@_kind
def _base64url_of_bytes(rng: Random) -> str:
    return _base64url(rng.randbytes(32))


@_kind
def _base62(rng: Random) -> str:
    return _of(rng, _BASE62, 20, 64)


@_kind
def _short_base62(rng: Random) -> str:
    return _of(rng, string.ascii_letters, 1) + _of(rng, _BASE62, 19, 22)


@_kind
def _lower_case_token(rng: Random) -> str:
    return _of(rng, _LOWER, 1) + _of(rng, _LOWER + _DIGITS, 19, 31)


@_kind
def _uuid(rng: Random) -> str:
    text = str(uuid.UUID(int=rng.getrandbits(128), version=4))
    return rng.choice((text, text.upper(), f"{{{text}}}", f"urn:uuid:{text}", f"a{text[1:]}", f"F{text[1:].upper()}"))


@_kind
def _licence_key(rng: Random) -> str:
    return "-".join(_of(rng, _UPPER + _DIGITS, 5) for _ in range(5))


@_kind
def _card_or_account_number(rng: Random) -> str:
    groups = [_of(rng, _DIGITS, 4) for _ in range(4)]
    return rng.choice(("", "card-", "DE89-")) + rng.choice(("", "-", " ")).join(groups)


@_kind
def _key_block(rng: Random) -> str:
    body = base64.b64encode(rng.randbytes(48)).decode()
    return rng.choice((f"ssh-ed25519 {body}", f"-----BEGIN PRIVATE KEY-----\n{body}\n", f"Bearer {body}"))


@_kind
def _assignment(rng: Random) -> str:
    return f"{rng.choice(('API_KEY', 'password', '--token'))}={_of(rng, _BASE62, 10, 30)}"


# -- Prose and code ---------------------------------------------------------------------------------------------------


@_kind
def _prompt(rng: Random) -> str:
    return f"{rng.choice(_VERBS)} the {rng.choice(_NOUNS)} {' '.join(rng.choices(_REST, k=rng.randint(1, 9)))}"


@_kind
def _question(rng: Random) -> str:
    opening = rng.choice(("Wie behebe ich", "¿Por qué falla", "Pourquoi est-ce que", "なぜ", "Почему падает", "为什么"))
    return f"{opening} {rng.choice(_NOUNS)} {_word(rng)}?"


@_kind
def _prompt_with_hyphens(rng: Random) -> str:
    words = [rng.choice(_VERBS), "the", rng.choice(_NOUNS), *rng.choices(_REST, k=rng.randint(2, 6))]
    return rng.choice("-_").join(words)


@_kind
def _code(rng: Random) -> str:
    name = _word(rng)
    return rng.choice(
        (
            f"def {name}(x):\n    return x",
            f"{name}({_word(rng)})",
            f"SELECT * FROM {name};",
            f"<{name}/>",
            f"{name} && ls",
        )
    )


# -- Unicode: a name that would pass, and one thing that must not ----------------------------------------------------


def _name(rng: Random) -> str:
    return f"{rng.choice(_NAMES)}-{_word(rng)}" if rng.random() < 0.9 else rng.choice(("0.64.0", "3.12", "1.2.3rc1"))


def _with_one(rng: Random, characters: str) -> str:
    """A name with one of the characters somewhere in it, at its end included."""
    name, place = _name(rng), rng.randrange(99)
    place %= len(name) + 1
    return name[:place] + rng.choice(characters) + name[place:]


def _with_one_replaced(rng: Random, replacements: dict[str, str]) -> str:
    """A name with one of its characters replaced."""
    name = _name(rng)
    while not set(name) & set(replacements):
        name = _name(rng)
    place = rng.choice([place for place, character in enumerate(name) if character in replacements])
    return name[:place] + replacements[name[place]] + name[place + 1 :]


@_kind
def _control_character(rng: Random) -> str:
    return _with_one(rng, "\n\r\t\0\x0b\x0c\x1b\x7f\x85 ")


@_kind
def _at_the_end(rng: Random) -> str:
    return _name(rng) + rng.choice(("\n", "\r\n", "\0", " ", "\u2028", "\u2029", "\u200b", "\ufeff"))


@_kind
def _right_to_left(rng: Random) -> str:
    return _with_one(rng, "\u202e\u202d\u202b\u2066\u2067\u200f\u061c")


@_kind
def _zero_width(rng: Random) -> str:
    return _with_one(rng, "\u200b\u200c\u200d\u2060\ufeff\u00ad\u180e\U000e0041")


@_kind
def _combining(rng: Random) -> str:
    return _with_one(rng, "\u0301\u0308\u0327\u20dd\u0489\ufe0f")


@_kind
def _surrogate(rng: Random) -> str:
    return _with_one(rng, "\ud800\udbff\udc00\udfff\udc80\udcff")


@_kind
def _emoji_or_letter_from_elsewhere(rng: Random) -> str:
    return _with_one(rng, "\U0001f511éßжשא漢ไ\u3000")


@_kind
def _full_width(rng: Random) -> str:
    return "".join(chr(ord(letter) + 0xFEE0) if rng.random() < 0.7 else letter for letter in _name(rng)) + "\uff41"


@_kind
def _homoglyph(rng: Random) -> str:
    """Cyrillic and Greek letters that look like ASCII."""
    return _with_one_replaced(rng, dict(zip("aeopcyxsik", "аеорсухѕіκ", strict=True)))


@_kind
def _case_fold(rng: Random) -> str:
    """What a pattern that ignores case takes for s, k and i."""
    return _with_one_replaced(rng, {"s": "\u017f", "k": "\u212a", "i": "\u0131"})


@_kind
def _digit_from_elsewhere(rng: Random) -> str:
    """What `\\d` takes for a digit."""
    number = f"{rng.randint(0, 99)}.{rng.randint(0, 999)}.{rng.randint(0, 999)}"
    zero = rng.choice("\u0660\u06f0\u0966\uff10\U0001d7ce")
    return "".join(chr(ord(zero) + int(digit)) if digit.isdigit() else digit for digit in number)


@_kind
def _decomposed(rng: Random) -> str:
    return unicodedata.normalize("NFD", f"{rng.choice(('José', 'müller', 'naïve', 'Łukaszé'))}-{_word(rng)}")


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
