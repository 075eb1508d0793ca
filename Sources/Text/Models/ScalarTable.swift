/// A number for some of Unicode's scalars, looked up by index: pages of 256, most of them absent.
struct ScalarTable: Sendable {
    /// Where each page starts in `values`.
    private var pages = [Int32](repeating: 0, count: 0x1100)
    /// Page 0 is the absent one.
    private var values = [UInt32](repeating: ScalarTable.none, count: 256)
    /// No number.
    static let none = UInt32.max

    subscript(scalar: UInt32) -> UInt32 {
        @inline(__always) get { values[Int(pages[Int(scalar >> 8)]) + Int(scalar & 0xFF)] }
        set {
            let page = Int(scalar >> 8)
            if pages[page] == 0 {
                pages[page] = Int32(values.count)
                values.append(contentsOf: repeatElement(ScalarTable.none, count: 256))
            }
            values[Int(pages[page]) + Int(scalar & 0xFF)] = newValue
        }
    }

    /// The only scalar of `token`; `nil` if it has more or is not valid UTF-8.
    static func onlyScalar(of token: UnsafeBufferPointer<UInt8>) -> UInt32? {
        guard let byte = token.first, token.count <= 4 else { return nil }
        if token.count == 1 { return byte < 0x80 ? UInt32(byte) : nil }
        guard let text = String(validating: token, as: UTF8.self) else { return nil }
        let scalars = text.unicodeScalars
        return scalars.count == 1 ? scalars.first?.value : nil
    }
}
