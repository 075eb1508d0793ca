#!/usr/bin/env python3
"""Writes constructs.json beside this file: one template per construct of the language, with what Jinja, set up by
transformers, makes of it, or null where it refuses. Made with jinja2 3.1.6 and transformers 5.23.0.
"""
import datetime, json, os
from transformers.utils import chat_template_utils as reference

VARIABLES = {"s": "Hello, Wörld", "n": 7, "f": 2.5, "l": [3, 1, 2], "d": {"b": 1, "a": [1, None]}, "w": [" x ", "Yy", ""],
             "people": [{"name": "Ann", "age": 30, "city": {"zip": 1}}, {"name": "bob", "age": 20}, {"name": "Cid", "age": 30}],
             "tree": [{"v": 1, "c": [{"v": 2, "c": []}, {"v": 3, "c": [{"v": 4, "c": []}]}]}]}
EXPRESSIONS = """
1 + 2 * 3 - 4 // 3 % 2 | 7 // -2 | -7 % 3 | 7.5 // -2 | -7.5 % 2 | 1 / 4 | 2 ** 3 ** 2 | 2 ** -1 | -2 ** 2 | 1 // 0
0x1F + 0b101 + 0o17 + 1_000 | 1.5e3 | 1e16 | 1e15 | 123456789012345680.0 | 1e-5 | 0.0001 | 1e300 * 1e10 | true + 1 | -true
'a' 'b' "c" | 'a' * 3 | [1] * 2 + [2] | 'a' + 1 | (1, 2) + (3,) | 'x' ~ 1 ~ none ~ 2.0 | 1 < 2 < 3 | 1 < 3 > 2 == 2 | 1 == 1.0 == true
'a' < 'b' | [1, 2] < [1, 3] | 1 < 'a' | 'ell' in s | 9 not in l | 'b' in d | none in [none] | not 1 in [1] | 1 and 0 or 'x' | '' or none
'yes' if n > 5 else 'no' | 'only' if false | (1 if 0 else 2 if 0 else 3) | [1, 'a', none, true, 2.0, (1,), {}] | {'k': [1, (2, 3)], 1: 'x'} | ()
s[0] | s[-1] | s[1:4] | s[::-1] | s[10:2:-3] | l[5] is defined | l[-1] | d['b'] | d.b | d['zz'] is defined | d.a[1] is none | d.zz.y | missing | missing.x
missing + 1 | missing is defined | missing|default('D') | ''|default('D') | ''|default('D', true) | missing == missing | missing|length | [missing]|string
d.items() | d.keys()|list | d.values()|list | d.get('b') | d.get('q', 5) | d.items | d.append | d.update({}) | l.append(1) | l.__class__ | s.__class__.__mro__ | l.index(2) | l.count(3)
s.upper() | s.lower() | s.title() | s.capitalize() | s.swapcase() | s.split(', ') | s.split('l', 1) | ' a  b '.split() | ' a  b '.split(none, 1) | 'a,b,c'.rsplit(',', 1) | ' a b '.rsplit(none, 1)
s.find('o') | s.rfind('o') | s.index('zz') | s.count('l') | s.replace('l', 'L', 1) | 'abc'.replace('', '-') | s.startswith(('x', 'He')) | s.endswith('d', 3) | 'aXa'.strip('a') | '\\t x\\n'.lstrip() | 'xx'.center(7, '*') | 'xy'.center(7)
'42'.zfill(5) | '-42'.zfill(5) | 'a\\tb'.expandtabs(4) | 'a-b-c'.partition('-') | 'a-b-c'.rpartition('-') | 'abc'.removeprefix('a') | ', '.join(['a', 'b']) | ', '.join([1]) | 'a\\nb\\r\\nc'.splitlines() | 'ß'.upper() | 'ΑΣ'.lower() | 'ǆ'.title()
'12'.isdigit() | '½'.isnumeric() | 'aB'.isalpha() | 'a b'.isspace() | 'Ab Cd'.istitle() | '_a1'.isidentifier() | 'é'.isascii() | (2.0).is_integer() | 'it\\'s'|string|list|first | ['it\\'s', '"', 'both\\'"', '\\n\\x00\\u200b']
'%s|%5s|%-5s|%.2s' % ('a', 'b', 'c', 'def') | '%d %5d %-5d| %05d %+d %x %X %o' % (1, 2, 3, -4, 5, 255, 255, 8) | '%.2f %e %g %r %c %%' % (1.005, 12345.678, 1e-7, 'q', 'z') | '%(a)s' % {'a': 1} | '%s' % [1] | '%d' % 'x' | '%s %s' % (1,) | 'x' % 1
'{} {1}'.format(1, 2) | '{} {}'.format(1, 2) | '{1}{0}'.format('a', 'b') | '{x:>6}|{x:<6}|{x:^6}|{x:*^7}'.format(x='ab') | '{:08.3f} {:+} {:,} {:x} {:%}'.format(3.14159, 5, 1234567, 255, 0.5) | '{0[a]} {0.b} {{}}'.format({'a': 1, 'b': 2}) | '{!r}'.format('x')
-3|abs | 'x'|center(5) | [1,2,3,4,5]|batch(2, 'f')|list | [1,2,3,4,5]|slice(2)|list | 'hello world'|capitalize | d|dictsort | d|length | l|first | l|last | []|first | l|max | l|min | []|max | l|sum | people|sum(attribute='age') | l|sort | l|sort(reverse=true)
people|sort(attribute='name')|map(attribute='name')|list | people|sort(attribute='age,name')|map(attribute='name')|join(' ') | people|map(attribute='city.zip', default='-')|list | people|groupby('age')|list|length | people|selectattr('age', 'gt', 25)|map(attribute='name')|join | people|rejectattr('city')|list|length
['B', 'a', 'b']|unique|list | ['B', 'a']|sort | ['B', 'a']|sort(case_sensitive=true) | l|select('odd')|list | l|reject('odd')|list | [0, 1, '']|select|list | w|map('trim')|list | w|map('replace', 'x', 'z')|list | l|map('string')|join('-') | l|join(', ')
'3.7'|int | 'x'|int(9) | 'ff'|int(base=16) | 3.99|int | '1e3'|float | 'x'|float(2.5) | 2.5|round | 3.5|round | 2.675|round(2) | 1234|round(-2) | 2.1|round(0, 'ceil') | 2.9|round(method='floor') | 1000000|filesizeformat | 1024|filesizeformat(true)
'a\\nb\\n\\nc'|indent | 'a\\nb'|indent(2, true) | 'a\\n\\nb'|indent('> ', blank=true) | 'foo bar baz qux'|truncate(9) | 'foo bar baz qux'|truncate(9, true) | 'a b-c d_e'|wordcount | 'my-first title'|title | '<b>x</b>  y'|striptags | 'a b&c/ü'|urlencode | {'a': 1, 'b': 'x y'}|urlencode
'<a>'|e | '<a>'|safe + '<b>' | ('<a>'|safe) ~ '<b>' | '<a>'|e|upper | [1, 2]|reverse|list | 'abc'|reverse | 'x'|attr('upper') is callable | {'a': 1}|items|list | 'a'|d('z') | 'abc'|list | '%s!'|format('x') | 'x'|nope | 5|length | none|upper | none ~ ''
{'b': [1, 2.0, none, true, 'é"\\\\\\n\\u0001'], 'a': {}}|tojson | {'b': 1, 'a': []}|tojson(indent=2) | {'b': 1, 'a': 2}|tojson(sort_keys=true) | [1, {}]|tojson(separators=(',', ':')) | 'é'|tojson(ensure_ascii=true) | missing|tojson | {1: 2, none: 3, true: 4}|tojson | [1e400, 1e16]|tojson | '<>&\\''|tojson
1 is odd | 4 is divisibleby 2 | 4 is divisibleby(3) | 1 is sameas 1 | none is none | 1.0 is integer | true is number | true is integer | 'a' is string | d is mapping | l is sequence | 5 is iterable | s is lower | 'ab' is lower | range is callable | 1 is not none | 'x' is in 'xyz' | 1 is eq 1 | 2 is gt(1) | missing is undefined | 1 is nope | 'upper' is filter
range(5)|list | range(5, 0, -2)|list | range(3) | range(2, 9)[1:3] | dict(a=1, b=2) | dict([('x', 1)], y=2) | namespace(a=1).a | namespace(a=1) | namespace(_a=1) | strftime_now('%Y-%m-%d %H:%M:%S %A %j %U %-d %b %p %y') | raise_exception('no') | cycler('a', 'b').next() | nofunction(1)
s|upper|lower|replace('h', 'J')|length > 5 and 'x' in 'xyz' | (s|lower)[:3] | -n|abs | not n is odd | n is odd and n is not even | [n, f]|sum ~ '!' | l[:2] + l[2:] == l | d == {'a': [1, none], 'b': 1} | (1, 2) == [1, 2] | messages|length | add_generation_prompt | tools is none
"""
STATEMENTS = [
    "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.first }}{{ loop.last }}{{ loop.length }}|{% endfor %}",
    "{% for x in [] %}a{% else %}none{% endfor %}", "{% for x in l if x > 1 %}{{ x }}{{ loop.length }}{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}", "{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for a, b in [1] %}{% endfor %}", "{% for x in 5 %}{% endfor %}", "{% for x in missing %}a{% else %}b{% endfor %}", "{% for x in none %}{% endfor %}",
    "{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}", "{% for x in l %}{{ loop.cycle('a', 'b') }}{{ loop.changed(x > 1) }}{% endfor %}",
    "{% for t in tree recursive %}{{ t.v }}@{{ loop.depth }}[{{ loop(t.c) }}]{% endfor %}", "{% for x in l %}{{ loop(x) }}{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% else %}E{% endfor %}", "{% for x in l %}{% if loop.index == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{% break %}{% else %}E{% endfor %}", "{% break %}", "{% for x in l %}{% macro f() %}{% break %}{% endmacro %}{% endfor %}",
    "{% for x in l|map('string') %}{{ loop.last }}{{ loop.length }}{{ x }}{% endfor %}", "{% set g = l|map('string') %}{{ g|list }}{{ g|list }}", "{% if []|select %}yes{% endif %}",
    "{% set x = 1 %}{% for y in l %}{{ x }}{% set x = y %}{% endfor %}{{ x }}", "{% if true %}{% set x = 5 %}{% endif %}{{ x }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a, b = 1 %}",
    "{% set ns = namespace(n=0) %}{% for x in l %}{% set ns.n = ns.n + x %}{% endfor %}{{ ns.n }}", "{% set d.x = 1 %}", "{% set ns = namespace() %}{% set ns._x = 1 %}", "{% set ns = namespace() %}{% set ns.a, ns.b = 1, 2 %}{{ ns.a + ns.b }}",
    "{% set x %} a {{ n }} b {% endset %}[{{ x }}]", "{% set x | trim | upper %} a {% endset %}[{{ x }}]", "{% set true = 1 %}", "{% set x = %}", "{% set x = 1, 2 %}{{ x }}",
    "{% if n > 9 %}a{% elif n > 6 %}b{% else %}c{% endif %}", "{% if missing %}a{% endif %}", "{% if %}{% endif %}", "{% if 1 %}", "{% endif %}", "{% else %}",
    "{% macro f(a, b='B', c=a) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ f(1) }}{{ f(1, c=3) }}{{ f(b=2, a=0) }}{{ f() }}", "{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}", "{% macro f(a) %}{% endmacro %}{{ f(z=2) }}",
    "{% macro f() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, z=3) }}", "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "{% macro f() %}{{ q }}{% endmacro %}{% set q = 4 %}{{ f() }}",
    "{% macro f(a, b) %}{% endmacro %}{{ f.name }}{{ f.arguments }}", "{% macro f(a=1, b) %}{% endmacro %}", "{% macro f() %}[{{ caller() }}]{% endmacro %}{% call f() %}in{{ n }}{% endcall %}",
    "{% macro f() %}{{ caller('x') }}{% endmacro %}{% call(a, b='y') f() %}{{ a }}{{ b }}{% endcall %}", "{% macro g() %}({{ caller() }}){% endmacro %}{% macro f() %}{% call g() %}{{ caller() }}{% endcall %}{% endmacro %}{% call f() %}z{% endcall %}",
    "{% macro f() %}{% endmacro %}{% call f() %}{% endcall %}", "{% call n %}{% endcall %}", "{% filter upper %}ab{{ s }}{% endfilter %}", "{% filter replace('a', 'b') | upper %}banana{% endfilter %}",
    "{% with a = 1, b = n %}{{ a + b }}{% endwith %}{{ a }}", "{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q }}", "{% raw %}{{ x }}{% y %}{% endraw %}", "{%- raw -%} {{ x }} {%- endraw -%} .", "{% raw %}x", "{% generation %}a{% set q = 1 %}{% endgeneration %}{{ q }}",
    "{% print 1, 'a' %}", "a{# comment {{ x }} #}b", "a {#- c -#} b", "{# open", "{{ 1", "{{ }}", "{{ 1 2 }}", "{{ 'open }}", "{{ (1 }}", "{{ 1) }}", "{{ a..b }}", "{{ 1 is not }}", "{{ f(a=1, 2) }}", "{{ f(**d, *l) }}", "{% nonsense %}", "{% for %}", "{% for x in %}{% endfor %}", "{% extends 'x' %}", "{% include 'x' %}", "{% import 'x' as y %}", "{% do 1 %}", "{{ {'a': {'b': 1}} }}", "{{ \"}}\" }}{{ '%}' }}", "{{ x if y }}", "{{ a$b }}",
    "a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "a\n  {%- if true -%}\n  b\n  {%- endif +%}\nc", "  {%+ if true %}x{% endif %}\n", "a  {{- ' b ' -}}  c", "{{ 1 }}\n{{ 2 }}\n\n", "a\r\nb\rc\r\n", "\n", "", "  {# c #}\n  x", "{% if true %}  \n{% endif %}", "x {% if true %}\ny{% endif %}", "{{ ''.join(['a']) }}{%- set a = 1 -%}\n\n {{ a }}",
    "{{ loop }}", "{% for loop in l %}{% endfor %}", "{% for x in l %}{% set loop = 1 %}{% endfor %}", "{{ l|map('nope')|list }}", "{% if false %}{{ 1|nope }}{% endif %}", "{% if false %}{% for x in l %}{{ 1|nope }}{% endfor %}{% endif %}", "{{ 1|nope if false else 2 }}", "{{ 'a' if false else 1|nope }}", "{{ [1|nope, 2 if 1] }}",
    "{{ f(*[1], **{'a': 2}) }}{% macro f(x, a) %}{{ x }}{{ a }}{% endmacro %}", "{% macro f(x, a) %}{{ x }}{{ a }}{% endmacro %}{{ f(*[1], **{'a': 2}) }}", "{% set j = joiner('|') %}{{ j() }}a{{ j() }}b{{ j() }}", "{% set c = cycler(1, 2) %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.current }}",
]


class FrozenTime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26, 12, 0, 0)


reference.datetime = FrozenTime


def rendered(template):
    try:
        compiled = reference._compile_jinja_template(template)
        return compiled.render(messages=[], add_generation_prompt=False, tools=None, documents=None, **VARIABLES)
    except Exception:
        return None


def main():
    templates = ["{{ " + part.strip() + " }}" for line in EXPRESSIONS.strip().split("\n") for part in split(line)] + STATEMENTS
    cases = [{"template": template, "expected": rendered(template)} for template in templates]
    cases = [case for case in cases if " at 0x" not in (case["expected"] or "") and "<built-in" not in (case["expected"] or "")]
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "constructs.json")
    with open(path, "w") as file:
        json.dump({"variables": VARIABLES, "now": "2024-07-26T12:00:00", "cases": cases}, file, ensure_ascii=False, indent=1)
        file.write("\n")


def split(line):
    """Expressions with ' | ' between; filters have no spaces around their bar."""
    return line.split(" | ")


main()
