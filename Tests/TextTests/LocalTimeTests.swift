import Testing
import Text

@Suite struct LocalTimeTests {
    @Test(arguments: [
        ("2024-02-29T23:59:59", "Thu Feb 29 23:59:59 2024 060 08 09 09 2024 4 4 11 PM"),
        ("2021-01-01", "Fri Jan  1 00:00:00 2021 001 00 00 53 2020 5 5 12 AM"),
        ("2018-12-31T12:00:00", "Mon Dec 31 12:00:00 2018 365 52 53 01 2019 1 1 12 PM"),
    ])
    func formatsLikeTheCLibrary(_ text: String, _ expected: String) throws {
        let now = try #require(LocalTime(text))
        let template = try ChatTemplate(template: "{{ strftime_now('%c %j %U %W %V %G %w %u %I %p') }}")
        #expect(try template.render([], addGenerationPrompt: false, now: now) == expected)
    }

    @Test func whatIsNoDirectiveStandsForItself() throws {
        let template = try ChatTemplate(template: "{{ strftime_now('%} % x %Q %-Q %d%') }}")
        let now = try #require(LocalTime("2024-07-26T12:00:00"))
        #expect(try template.render([], addGenerationPrompt: false, now: now) == "%} % x %Q %-Q 26%")
    }

    @Test(arguments: [
        "", "2023-02-29", "2024-13-01", "2024-1-01", "2024-01-01T24:00:00", "2024-01-01 10:00:00", "+024-01-01",
    ])
    func refusesOtherTimes(_ text: String) {
        #expect(LocalTime(text) == nil)
    }
}
