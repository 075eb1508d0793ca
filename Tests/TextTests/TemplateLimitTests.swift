import TensorCore
import Testing
import Text

/// Templates that try to take all time, all memory or all of the stack: each ends with an error that says so.
@Suite struct TemplateLimitTests {
    private static func loop(_ start: String, _ step: String, count: Int = 100_000) -> String {
        "{% set ns = namespace(v=\(start)) %}{% for i in range(\(count)) %}{% set ns.v = \(step) %}{% endfor %}{{ ns.v }}"
    }

    @Test(arguments: [
        "{{ " + String(repeating: "(", count: 50_000) + "1" + String(repeating: ")", count: 50_000) + " }}",
        "{{ " + String(repeating: "[", count: 50_000) + String(repeating: "]", count: 50_000) + " }}",
        "{{ " + String(repeating: "not ", count: 50_000) + "1 }}",
        "{{ " + String(repeating: "-", count: 50_000) + "1 }}",
        "{{ " + String(repeating: "1+", count: 50_000) + "1 }}",
        "{{ a" + String(repeating: ".b", count: 50_000) + " }}",
        "{{ a" + String(repeating: "|upper", count: 50_000) + " }}",
        String(repeating: "{% if 1 %}", count: 50_000),
    ])
    func refusesDeepSyntax(_ template: String) throws {
        let error = try #require(throws: LaminaError.self) { try ChatTemplate(template: template) }
        #expect(error.kind == .limit)
    }

    @Test(arguments: [
        "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
        "{% macro f() %}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}{{ f() }}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        loop("'ab'", "ns.v ~ ns.v"), loop("[1]", "ns.v + ns.v"), loop("[1]", "[ns.v]"),
        loop("[1]", "ns.v|map('upper')"), loop("[1]", "[1]|select('in', ns.v)"), loop("{}", "{'a': ns.v}.get"),
        loop("1", "cycler(ns.v)"), loop("1", "joiner(ns.v)"),
        "{% set ns = namespace() %}{% set ns.v = [ns] %}{{ ns }}",
        "{{ 'ab' * 10000000000 }}", "{{ [1] * 10000000000 }}", "{{ 'a'.center(1000000000000) }}",
        "{{ '%1000000000000d' % 1 }}", "{{ '{:1000000000000}'.format(1) }}", "{{ [1]|tojson(indent=1000000000000) }}",
        "{{ '\\t'.expandtabs(1000000000000) }}", "{{ [1]|batch(1000000000000, 0)|list }}", "{{ range(100001) }}",
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% set a = 'a' * 1000000 %}{% for i in range(100000) %}{{ a.find('b') }}{% endfor %}",
        "{% set a = 'a' * 1000000 %}{% for i in range(100000) %}{{ a.isupper() }}{% endfor %}",
        "{% set a = 'a' * 100000 %}{{ a|replace('a', a) }}",
        "{% for i in range(100000) %}{{ 'a' * 100000 }}{% endfor %}",
        "{% set ns = namespace(v=(1,)) %}{% for i in range(90) %}{% set ns.v = (ns.v, ns.v) %}{% endfor %}{{ {ns.v: 1} }}",
    ])
    func stopsHostileTemplates(_ template: String) throws {
        // Less than the default, so that the test takes no long time without optimisation.
        let limits = TemplateLimits(work: 1 << 22, depth: 300, outputBytes: 1 << 20)
        let template = try ChatTemplate(template: template, limits: limits)
        let error = try #require(throws: LaminaError.self) { try template.render([], addGenerationPrompt: false) }
        #expect(error.kind == .limit, "\(error)")
    }

    /// Chains that only end when the rendering does, and must not be released by recursion.
    @Test(arguments: [
        "{% set ns = namespace(v=0) %}{% for i in range(30000) %}{% set n = namespace(p=ns.v) %}{% set ns.v = n %}"
            + "{% endfor %}ok",
        "{% set ns = namespace(m=0) %}{% for i in range(30000) %}{% set p = ns.m %}{% macro f() %}{{ p }}{% endmacro %}"
            + "{% set ns.m = f %}{% endfor %}ok",
    ])
    func releasesLongChains(_ template: String) throws {
        #expect(try ChatTemplate(template: template).render([], addGenerationPrompt: false) == "ok")
    }

    @Test(arguments: [
        "{{ -9223372036854775807 - 2 }}", "{{ -(-9223372036854775807 - 1) }}", "{{ (-9223372036854775807 - 1)|abs }}",
        "{{ (-9223372036854775807 - 1) // -1 }}", "{{ 2 ** 63 }}", "{{ 1e300|int }}", "{{ '%d' % 1e300 }}",
        "{{ 99999999999999999999 }}", "{{ 9223372036854775807|round(-1) }}",
    ])
    func reportsOverflow(_ template: String) throws {
        let error = try #require(throws: LaminaError.self) {
            try ChatTemplate(template: template).render([], addGenerationPrompt: false)
        }
        #expect(error.description.contains("64 bits"), "\(error)")
    }

    /// Indices at the ends of the range of integers.
    @Test(arguments: [
        ("{{ 'abc'[-9223372036854775807:9223372036854775807:9223372036854775807] }}", "a"),
        ("{{ 'abc'[9223372036854775807::-9223372036854775807] }}", "c"),
        ("{{ (-9223372036854775807 - 1) % -1 }}", "0"), ("{{ '' * 9223372036854775807 }}", ""),
        ("{{ 'abc'.find('a', -9223372036854775807, 9223372036854775807) }}", "0"),
        ("{{ range(0, 4611686018427387905, 4611686018427387904)|list }}", "[0, 4611686018427387904]"),
        ("{{ 'a b'.split(none, -9223372036854775807) }}", "['a', 'b']"),
        ("{{ 9223372036854775807 in range(-3, 5) }}", "False"),
        ("{{ 1.5|round(9223372036854775807) }}", "1.5"),
    ])
    func takesExtremeIndices(_ template: String, _ expected: String) throws {
        #expect(try ChatTemplate(template: template).render([], addGenerationPrompt: false) == expected)
    }
}
