import Glibc

/// A date and a time of day where the user is.
public struct LocalTime: Sendable, Equatable {
    public var year: Int
    /// 1 to 12.
    public var month: Int
    public var day: Int
    public var hour: Int
    public var minute: Int
    public var second: Int

    /// `nil` for a date or a time that does not exist. Years from 1 to 9999.
    public init?(year: Int, month: Int, day: Int, hour: Int = 0, minute: Int = 0, second: Int = 0) {
        guard (1...9999).contains(year), (1...12).contains(month), (0...23).contains(hour),
            (0...59).contains(minute), (0...59).contains(second),
            day >= 1, day <= LocalTime.days(in: month, of: year)
        else { return nil }
        (self.year, self.month, self.day) = (year, month, day)
        (self.hour, self.minute, self.second) = (hour, minute, second)
    }

    /// `2024-07-26T12:00:00`, or a date alone; `nil` for anything else.
    public init?(_ text: String) {
        let halves = text.split(separator: "T", omittingEmptySubsequences: false)
        func numbers(_ part: Substring, _ separator: Character, _ widths: [Int]) -> [Int]? {
            let fields = part.split(separator: separator, omittingEmptySubsequences: false)
            guard fields.map(\.utf8.count) == widths else { return nil }
            let values = fields.compactMap { $0.allSatisfy { $0.isASCII && $0.isNumber } ? Int($0) : nil }
            return values.count == widths.count ? values : nil
        }
        guard halves.count <= 2, let first = halves.first, let date = numbers(first, "-", [4, 2, 2]) else { return nil }
        var time = [0, 0, 0]
        if halves.count == 2 {
            guard let values = numbers(halves[1], ":", [2, 2, 2]) else { return nil }
            time = values
        }
        self.init(
            year: date[0], month: date[1], day: date[2], hour: time[0], minute: time[1], second: time[2])
    }

    /// The time now, in the time zone of the process.
    public static func current() -> LocalTime {
        var now = time(nil)
        var parts = tm()
        localtime_r(&now, &parts)
        // A leap second counts as the one before it.
        let value = LocalTime(
            year: Int(parts.tm_year) + 1900, month: Int(parts.tm_mon) + 1, day: Int(parts.tm_mday),
            hour: Int(parts.tm_hour), minute: Int(parts.tm_min), second: min(Int(parts.tm_sec), 59))
        return value ?? LocalTime(unchecked: 1970)
    }

    private init(unchecked year: Int) {
        (self.year, month, day) = (year, 1, 1)
        (hour, minute, second) = (0, 0, 0)
    }

    private static func isLeap(_ year: Int) -> Bool { year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) }

    private static func days(in month: Int, of year: Int) -> Int {
        month == 2 && isLeap(year) ? 29 : [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1]
    }

    /// From 1.
    var dayOfYear: Int { (1..<month).reduce(day) { $0 + LocalTime.days(in: $1, of: year) } }

    /// From 0, Sunday.
    var weekday: Int {
        let before = year - 1
        return (before * 365 + before / 4 - before / 100 + before / 400 + dayOfYear) % 7
    }

    /// Year and week by ISO 8601: weeks begin on Monday, and the first has the year's first Thursday.
    var isoWeek: (year: Int, week: Int) {
        let monday = (weekday + 6) % 7
        let week = (dayOfYear - 1 - monday + 10) / 7
        if week < 1 { return (year - 1, LocalTime.isoWeeks(in: year - 1)) }
        if week > LocalTime.isoWeeks(in: year) { return (year + 1, 1) }
        return (year, week)
    }

    private static func isoWeeks(in year: Int) -> Int {
        guard year >= 1, let last = LocalTime(year: year, month: 12, day: 31) else { return 52 }
        let isLong = last.weekday == 4 || (last.weekday == 5 && isLeap(year))
        return isLong ? 53 : 52
    }
}

extension LocalTime {
    private static let weekdays = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
    private static let maximumFormat = 1000
    private static let months = [
        "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
        "November", "December",
    ]

    /// The time as `strftime` writes it in the C locale, with glibc's flags `-`, `_`, `0`, `^` and `#`. Throws for a
    /// format that is too long.
    func formatted(_ format: Scalars) throws(TemplateFailure) -> Scalars {
        guard format.count <= LocalTime.maximumFormat else {
            throw .limit("the format of a time is longer than \(LocalTime.maximumFormat) characters")
        }
        var result: Scalars = []
        var index = 0
        while index < format.count {
            let scalar = format[index]
            index += 1
            guard scalar == "%", index < format.count else {
                result.append(scalar)
                continue
            }
            var flags: Scalars = []
            while index < format.count, ("-_0^#" as String).unicodeScalars.contains(format[index]) {
                flags.append(format[index])
                index += 1
            }
            guard index < format.count, let text = directive(format[index], flags) else {
                // What is no directive stands for itself, as glibc has it.
                result += ["%"] + flags
                continue
            }
            index += 1
            result += Scalars(flags.contains("^") ? text.uppercased() : text)
        }
        return result
    }

    private func number(_ value: Int, _ width: Int, _ flags: Scalars, _ fill: Character = "0") -> String {
        let digits = String(value)
        if flags.contains("-") { return digits }
        let fill = flags.contains("_") ? " " : flags.contains("0") ? "0" : fill
        return String(repeating: fill, count: max(0, width - digits.count)) + digits
    }

    private func directive(_ letter: Unicode.Scalar, _ flags: Scalars) -> String? {
        switch letter {
        case "Y": String(year)
        case "C": number(year / 100, 2, flags)
        case "y": number(year % 100, 2, flags)
        case "m": number(month, 2, flags)
        case "d": number(day, 2, flags)
        case "e": number(day, 2, flags, " ")
        case "H": number(hour, 2, flags)
        case "k": number(hour, 2, flags, " ")
        case "I": number((hour + 11) % 12 + 1, 2, flags)
        case "l": number((hour + 11) % 12 + 1, 2, flags, " ")
        case "M": number(minute, 2, flags)
        case "S": number(second, 2, flags)
        case "f": "000000"
        case "j": number(dayOfYear, 3, flags)
        case "G": String(isoWeek.year)
        case "g": number(isoWeek.year % 100, 2, flags)
        case "V": number(isoWeek.week, 2, flags)
        case "U": number((dayOfYear + 6 - weekday) / 7, 2, flags)
        case "W": number((dayOfYear + 6 - (weekday + 6) % 7) / 7, 2, flags)
        case "w": String(weekday)
        case "u": String((weekday + 6) % 7 + 1)
        default: word(letter, flags)
        }
    }

    private func word(_ letter: Unicode.Scalar, _ flags: Scalars) -> String? {
        let isSwapped = flags.contains("#")
        func name(_ name: String) -> String { isSwapped ? name.uppercased() : name }
        switch letter {
        case "A": return name(LocalTime.weekdays[weekday])
        case "a": return name(String(LocalTime.weekdays[weekday].prefix(3)))
        case "B": return name(LocalTime.months[month - 1])
        case "b", "h": return name(String(LocalTime.months[month - 1].prefix(3)))
        case "p": return hour < 12 ? (isSwapped ? "am" : "AM") : isSwapped ? "pm" : "PM"
        case "P": return hour < 12 ? "am" : "pm"
        case "n": return "\n"
        case "t": return "\t"
        case "%": return "%"
        // A time without a time zone has neither name nor offset.
        case "z", "Z": return ""
        default: return composite(letter)
        }
    }

    private func composite(_ letter: Unicode.Scalar) -> String? {
        let formats: [Unicode.Scalar: String] = [
            "c": "%a %b %e %H:%M:%S %Y", "D": "%m/%d/%y", "x": "%m/%d/%y", "F": "%Y-%m-%d", "R": "%H:%M",
            "T": "%H:%M:%S", "X": "%H:%M:%S", "r": "%I:%M:%S %p",
        ]
        guard let format = formats[letter], let text = try? formatted(Scalars(format)) else { return nil }
        return String(text)
    }
}
