import TensorCore

/// A stretch of a file, in memory as far as somebody asked for it: how long a pickle is, only reading it tells.
struct ByteWindow {
    /// Bytes are fetched at least this many at a time.
    private static let step = 1 << 18

    /// What is in memory: the stretch's first bytes.
    private(set) var bytes: [UInt8]
    /// Where in the file the stretch begins.
    let start: UInt64
    /// Bytes of the whole stretch.
    let count: Int
    /// Of the file, for errors.
    let path: String
    private let file: OpenFile?

    /// The bytes `range` of `file`, which must be in it, and no more than fit in memory.
    init(_ file: OpenFile, _ range: ByteRange) {
        bytes = []
        start = range.lowerBound
        count = range.count
        path = file.path
        self.file = file
    }

    /// Bytes that are in memory already, those of the file from `start` on.
    init(_ bytes: [UInt8], from start: UInt64 = 0, path: String) {
        self.bytes = bytes
        self.start = start
        count = bytes.count
        self.path = path
        file = nil
    }

    /// Makes sure of the first `needed` bytes. False if the stretch is shorter. Throws `.io`, `.damaged` if the file is.
    mutating func load(_ needed: Int) throws(LaminaError) -> Bool {
        if needed <= bytes.count { return true }
        guard needed <= count, let file else { return false }
        let present = bytes.count
        let target = min(count, max(needed, present + ByteWindow.step))
        bytes.append(contentsOf: repeatElement(0, count: target - present))
        let offset = start + UInt64(present)
        try bytes.withMutableBytes { (buffer) throws(LaminaError) in
            try file.readExactly(into: UnsafeMutableRawBufferPointer(rebasing: buffer[present...]), at: offset)
        }
        return true
    }
}

extension OpenFile {
    /// The bytes `range`, which must fit in memory. Throws `.io`, `.damaged` if the file is shorter.
    func bytes(_ range: ByteRange) throws(LaminaError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: range.count)
        try bytes.withMutableBytes { (buffer) throws(LaminaError) in
            try readExactly(into: buffer, at: range.lowerBound)
        }
        return bytes
    }
}

extension Array where Element == UInt8 {
    /// The little-endian number at `offset`, which must be inside.
    func littleEndian<Number: FixedWidthInteger & UnsignedInteger>(_ type: Number.Type, at offset: Int) -> Number {
        var value: Number = 0
        for index in (0..<MemoryLayout<Number>.size).reversed() { value = value << 8 | Number(self[offset + index]) }
        return value
    }
}
