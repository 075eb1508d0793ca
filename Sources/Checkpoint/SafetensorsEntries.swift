import TensorCore

/// The entries of a safetensors header while it is checked: flat, so that a million of them cost less than the header
/// itself, and nothing larger is made of entries that are refused in the end.
struct SafetensorsEntries {
    /// `{"name": {"shape": [..]}}` is three deep; one to spare.
    static let maximumDepth = 4
    /// Far above `Shape.maximumRank`, so that the message can say what the rank is.
    private static let maximumNumbers = 64

    /// One tensor's entry, right by itself.
    private struct Entry {
        /// Where the name is in `names`, where the shape is in `dimensions`: no more bytes than the header has.
        var nameStart: UInt32
        var nameCount: UInt16
        var rank: UInt8
        var dtype: DType
        var shapeStart: UInt32
        var bytes: ByteRange
    }

    private var entries: [Entry] = []
    private var names: [UInt8] = []
    private var dimensions: [Int] = []
    /// The list that was scanned last.
    private var numbers: [Int] = []

    /// Reads the header, which is `bytes` from `start` on. Throws `.malformed`, without a file.
    init(_ bytes: [UInt8], from start: Int) throws(LaminaError) {
        guard start < bytes.count, bytes[start] == UInt8(ascii: "{") else {
            throw LaminaError(.malformed, "", "the header does not begin with '{'")
        }
        var scanner = JSONScanner(
            bytes, from: start, limits: JSONScanner.Limits(depth: SafetensorsEntries.maximumDepth))
        var hasMetadata = false
        try scanner.scanObjectBytes { (key, scanner) throws(LaminaError) in
            if key.elementsEqual("__metadata__".utf8) {
                guard !hasMetadata else { throw scanner.failure("__metadata__ is given twice") }
                hasMetadata = true
                return try SafetensorsEntries.scanMetadata(&scanner)
            }
            guard entries.count < SafetensorsHeader.maximumTensors else {
                throw LaminaError(
                    .malformed, "", "the header lists more than \(SafetensorsHeader.maximumTensors) tensors")
            }
            try scanEntry(key, &scanner)
        }
        try scanner.finish()
        try checkNames()
        // Tensors without bytes may share a place: then in the order of the header.
        entries.sort {
            ($0.bytes.lowerBound, $0.bytes.upperBound, $0.nameStart)
                < ($1.bytes.lowerBound, $1.bytes.upperBound, $1.nameStart)
        }
    }

    /// The tensors in the order of their bytes.
    var tensors: [SourceTensor] {
        entries.map { entry in
            SourceTensor(
                name: name(of: entry), dtype: entry.dtype, shape: shape(of: entry), bytes: entry.bytes)
        }
    }

    private func name(of entry: Entry) -> String {
        String(decoding: names[Int(entry.nameStart)...].prefix(Int(entry.nameCount)), as: UTF8.self)
    }

    private func shape(of entry: Entry) -> Shape {
        Shape(Array(dimensions[Int(entry.shapeStart)...].prefix(Int(entry.rank))))
    }

    // MARK: Scanning

    /// Metadata may hold text only.
    private static func scanMetadata(_ scanner: inout JSONScanner) throws(LaminaError) {
        guard try scanner.peekKind() == .object else { throw scanner.failure("__metadata__ is not an object") }
        try scanner.scanObjectBytes { (_, scanner) throws(LaminaError) in
            guard try scanner.peekKind() == .string else {
                throw scanner.failure("__metadata__ holds something other than text")
            }
            try scanner.skipValue()
        }
    }

    private mutating func scanEntry(_ name: ArraySlice<UInt8>, _ scanner: inout JSONScanner) throws(LaminaError) {
        try TensorName.check(name)
        func failure(_ problem: String) -> LaminaError { SafetensorsEntries.failure(name, problem) }
        guard try scanner.peekKind() == .object else { throw failure("the entry is not an object") }
        var dtype: DType?
        let shapeStart = dimensions.count
        var hasShape = false
        var bytes: ByteRange?
        try scanner.scanObjectBytes { (member, scanner) throws(LaminaError) in
            if member.elementsEqual("dtype".utf8) {
                guard dtype == nil else { throw failure("\"dtype\" is given twice") }
                dtype = try SafetensorsEntries.scanDType(&scanner, of: name)
            } else if member.elementsEqual("shape".utf8) {
                guard !hasShape else { throw failure("\"shape\" is given twice") }
                try scanNumbers(&scanner, "shape", of: name)
                dimensions += numbers
                hasShape = true
            } else if member.elementsEqual("data_offsets".utf8) {
                guard bytes == nil else { throw failure("\"data_offsets\" is given twice") }
                bytes = try scanOffsets(&scanner, of: name)
            } else {
                try scanner.skipValue()
            }
        }
        guard let dtype, hasShape, let bytes else { throw failure("dtype, shape or data_offsets is missing") }
        try SafetensorsEntries.check(Shape(Array(dimensions[shapeStart...])), dtype, bytes, of: name)
        entries.append(
            Entry(
                nameStart: UInt32(names.count), nameCount: UInt16(name.count),
                rank: UInt8(dimensions.count - shapeStart), dtype: dtype, shapeStart: UInt32(shapeStart), bytes: bytes))
        names += name
    }

    private static func failure(_ name: ArraySlice<UInt8>, _ problem: String) -> LaminaError {
        LaminaError(.malformed, "", problem, tensor: String(decoding: name, as: UTF8.self))
    }

    private static func scanDType(
        _ scanner: inout JSONScanner, of name: ArraySlice<UInt8>
    ) throws(LaminaError) -> DType {
        guard try scanner.peekKind() == .string else { throw failure(name, "\"dtype\" is not text") }
        let text = try scanner.scanString()
        guard let dtype = DType(rawValue: text) else {
            var error = failure(name, "dtype \(escapedForDisplay(text, limit: 40)) is not supported")
            error.expected = DType.allCases.map(\.rawValue).joined(separator: ", ")
            throw error
        }
        return dtype
    }

    private mutating func scanOffsets(
        _ scanner: inout JSONScanner, of name: ArraySlice<UInt8>
    ) throws(LaminaError) -> ByteRange {
        try scanNumbers(&scanner, "data_offsets", of: name)
        guard numbers.count == 2, numbers[0] <= numbers[1] else {
            var error = SafetensorsEntries.failure(name, "data_offsets are not a range")
            error.expected = "[begin, end] with begin <= end"
            error.found = "\(numbers.prefix(4))"
            throw error
        }
        return UInt64(numbers[0])..<UInt64(numbers[1])
    }

    /// Plain non-negative integers only: no fraction, no exponent, no sign.
    private mutating func scanNumbers(
        _ scanner: inout JSONScanner, _ member: String, of name: ArraySlice<UInt8>
    ) throws(LaminaError) {
        func failure(_ problem: String) -> LaminaError { SafetensorsEntries.failure(name, problem) }
        guard try scanner.peekKind() == .array else { throw failure("\"\(member)\" is not a list") }
        numbers.removeAll(keepingCapacity: true)
        try scanner.scanArray { (scanner) throws(LaminaError) in
            guard try scanner.peekKind() == .number else {
                throw failure("\"\(member)\" holds something other than numbers")
            }
            let text = try scanner.scanNumberBytes()
            guard let value = SafetensorsEntries.integer(text) else {
                var error = failure("bad number in \"\(member)\"")
                error.expected = "integers from 0 to \(Int.max)"
                error.found = escapedForDisplay(String(decoding: text.prefix(80), as: UTF8.self), limit: 40)
                throw error
            }
            guard numbers.count < SafetensorsEntries.maximumNumbers else {
                throw failure("\"\(member)\" lists more than \(SafetensorsEntries.maximumNumbers) numbers")
            }
            numbers.append(value)
        }
    }

    /// The value of a JSON number that has digits only; `nil` if it has something else or does not fit.
    private static func integer(_ text: ArraySlice<UInt8>) -> Int? {
        var value = 0
        for byte in text {
            guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9"), let tens = Checked.multiply(value, 10),
                let next = Checked.add(tens, Int(byte - UInt8(ascii: "0")))
            else { return nil }
            value = next
        }
        return value
    }

    // MARK: Checks

    private static func check(
        _ shape: Shape, _ dtype: DType, _ bytes: ByteRange, of name: ArraySlice<UInt8>
    ) throws(LaminaError) {
        if let problem = shape.problem(elementSize: dtype.size) { throw failure(name, problem) }
        let size = UInt64(shape.elementCount * dtype.size)
        guard bytes.upperBound - bytes.lowerBound == size else {
            var error = failure(name, "dtype and shape contradict data_offsets")
            error.expected = "\(size) bytes for \(dtype.rawValue) \(shape)"
            error.found = "\(bytes.upperBound - bytes.lowerBound)"
            throw error
        }
    }

    /// Throws `.malformed` if two entries have the same bytes for a name.
    private func checkNames() throws(LaminaError) {
        // Open addressing, at most half full, under the standard library's seeded hash: no input makes it slow.
        var size = 2
        while size < 2 * entries.count { size *= 2 }
        var table = [UInt32](repeating: .max, count: size)
        let duplicate = names.withUnsafeBytes { names in
            entries.indices.first { index in
                let name = SafetensorsEntries.bytes(of: entries[index], in: names)
                var hasher = Hasher()
                hasher.combine(bytes: name)
                var slot = hasher.finalize() & (size - 1)
                while table[slot] != .max {
                    let other = SafetensorsEntries.bytes(of: entries[Int(table[slot])], in: names)
                    if other.elementsEqual(name) { return true }
                    slot = (slot + 1) & (size - 1)
                }
                table[slot] = UInt32(index)
                return false
            }
        }
        guard let duplicate else { return }
        throw LaminaError(
            .malformed, "", "the name is listed twice in the header", tensor: name(of: entries[duplicate]))
    }

    private static func bytes(of entry: Entry, in names: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        let start = Int(entry.nameStart)
        return UnsafeRawBufferPointer(rebasing: names[start..<(start + Int(entry.nameCount))])
    }

    /// No overlap, no hole, nothing left over: every byte of the data belongs to one tensor. Throws `.malformed`.
    func checkCoverage(dataSize: UInt64) throws(LaminaError) {
        var end: UInt64 = 0
        for (index, entry) in entries.enumerated() {
            let start = entry.bytes.lowerBound
            if start != end {
                let what = start < end ? "overlaps" : "leaves a hole of \(start - end) bytes after"
                let previous = index == 0 ? "the header" : "tensor \(escapedForDisplay(name(of: entries[index - 1])))"
                throw LaminaError(
                    .malformed, "", "the tensor \(what) \(previous)", expected: "data from \(end)", found: "\(start)",
                    tensor: name(of: entry))
            }
            end = entry.bytes.upperBound
        }
        guard end == dataSize else {
            throw LaminaError(
                .malformed, "", "the data part has the wrong size", expected: "\(end) bytes", found: "\(dataSize)",
                hint: dataSize < end ? "the download is incomplete; get the file again" : nil)
        }
    }
}
