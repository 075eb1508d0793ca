import CommandLineSupport
import Testing

@Suite struct FormattingTests {
    @Test func parsesSizes() {
        #expect(ByteSize(argument: "2GiB")?.bytes == 2 << 30)
        #expect(ByteSize(argument: "512M")?.bytes == 512 << 20)
        #expect(ByteSize(argument: "1.5g")?.bytes == 3 << 29)
        #expect(ByteSize(argument: "1GB")?.bytes == 1_000_000_000)
        #expect(ByteSize(argument: "4096")?.bytes == 4096)
        for text in ["", "GiB", "-1G", "1Q", "1e9x", "nan", "0", "99999999T", "1..5G", "１G"] {
            #expect(ByteSize(argument: text) == nil, "\(text)")
        }
    }

    @Test func formatsForPeople() {
        #expect(formattedBytes(17) == "17 B")
        #expect(formattedBytes(1536) == "1.50 KiB")
        #expect(formattedBytes(UInt64(3.5 * 1_073_741_824)) == "3.50 GiB")
        #expect(formatted(1.005, decimals: 1) == "1.0")
        #expect(formatted(-2.25, decimals: 1) == "-2.3")
        #expect(formatted(0.05, decimals: 2) == "0.05")
        #expect(formattedDuration(0.84) == "0.8 s")
        #expect(formattedDuration(125) == "2 min 05 s")
        #expect(formattedDuration(4320) == "1 h 12 min")
        #expect(formattedDuration(.infinity) == "?")
    }
}
