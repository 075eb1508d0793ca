import TensorCore

/// A safetensors header, strictly read: what the reference implementation refuses is refused here, and duplicate names
/// too, which it lets pass.
///
/// Format: 8 bytes little-endian header size, a JSON object, the tensors' bytes without holes
/// (https://github.com/huggingface/safetensors, "Format").
public enum SafetensorsHeader {
    /// The reference implementation's limit.
    public static let maximumBytes: UInt64 = 100_000_000
    /// Large mixture-of-experts checkpoints have tens of thousands of tensors.
    public static let maximumTensors = 1_000_000
    /// `{"name": {"shape": [..]}}` is three deep; one to spare.
    static let maximumDepth = 4

    /// Reads and checks the header of `file`, which has `fileSize` bytes. Throws `.malformed`, `.io`.
    static func layout(of file: OpenFile, fileSize: UInt64) throws(LaminaError) -> WeightLayout {
        var lengthField = [UInt8](repeating: 0, count: 8)
        let read = try lengthField.withMutableBytes { (bytes) throws(LaminaError) in try file.read(into: bytes, at: 0) }
        let size = try size(lengthField: Array(lengthField.prefix(read)), fileSize: fileSize, file: file.path)
        var header = [UInt8](repeating: 0, count: size)
        try header.withMutableBytes { (bytes) throws(LaminaError) in try file.readExactly(into: bytes, at: 8) }
        let tensors = try parse(header, dataSize: fileSize - 8 - UInt64(size), file: file.path)
        return WeightLayout(
            format: .safetensors, tensors: tensors, dataOffset: 8 + UInt64(size), otherBytes: lengthField + header)
    }

    /// Checks the header size that `lengthField` states. Throws `.malformed`.
    public static func size(
        lengthField: [UInt8], fileSize: UInt64, file: String
    ) throws(LaminaError) -> Int {
        guard fileSize >= 8, lengthField.count == 8 else {
            throw LaminaError(
                .malformed, file, "the file is shorter than its 8-byte length field", found: "\(fileSize) bytes",
                hint: "download the file again")
        }
        let size = lengthField.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard size <= maximumBytes else {
            throw LaminaError(
                .malformed, file, "the stated header size is too large", expected: "at most \(maximumBytes) bytes",
                found: "\(size)", bytes: 0..<8)
        }
        guard size <= fileSize - 8 else {
            throw LaminaError(
                .malformed, file, "the header is longer than the file", expected: "\(size) bytes",
                found: "\(fileSize - 8)", hint: "the download is incomplete; get the file again")
        }
        return Int(size)
    }

    /// The tensors in the order of their bytes, which cover the data part of `dataSize` bytes exactly. Throws `.malformed`.
    public static func parse(_ header: [UInt8], dataSize: UInt64, file: String) throws(LaminaError)
        -> [SourceTensor]
    {
        var tensors: [SourceTensor] = []
        do throws(LaminaError) {
            guard header.first == UInt8(ascii: "{") else {
                throw LaminaError(.malformed, file, "the header does not begin with '{'", bytes: 8..<9)
            }
            var scanner = JSONScanner(header, limits: JSONScanner.Limits(depth: maximumDepth))
            var names: Set<[UInt8]> = []
            try scanner.scanObject { (key, scanner) throws(LaminaError) in
                guard names.insert(Array(key.utf8)).inserted else {
                    throw LaminaError(.malformed, file, "the name is listed twice in the header", tensor: key)
                }
                if key.utf8.elementsEqual("__metadata__".utf8) { return try scanMetadata(&scanner) }
                guard tensors.count < maximumTensors else {
                    throw LaminaError(.malformed, file, "the header lists more than \(maximumTensors) tensors")
                }
                tensors.append(try scanTensor(named: key, &scanner))
            }
            try scanner.finish()
        } catch {
            throw error.about(file)
        }
        tensors.sort { ($0.bytes.lowerBound, $0.bytes.upperBound) < ($1.bytes.lowerBound, $1.bytes.upperBound) }
        try checkCoverage(tensors, dataSize: dataSize, file: file)
        return tensors
    }

    /// Metadata may hold text only.
    private static func scanMetadata(_ scanner: inout JSONScanner) throws(LaminaError) {
        guard try scanner.peekKind() == .object else { throw scanner.failure("__metadata__ is not an object") }
        try scanner.scanObject { (_, scanner) throws(LaminaError) in
            guard try scanner.peekKind() == .string else {
                throw scanner.failure("__metadata__ holds something other than text")
            }
            _ = try scanner.scanString()
        }
    }

    private static func scanTensor(
        named name: String, _ scanner: inout JSONScanner
    ) throws(LaminaError) -> SourceTensor {
        try TensorName.check(name)
        guard try scanner.peekKind() == .object else {
            throw LaminaError(.malformed, "", "the entry is not an object", tensor: name)
        }
        var dtypeName: String?
        var dimensions: [Int]?
        var offsets: [Int]?
        try scanner.scanObject { (key, scanner) throws(LaminaError) in
            switch key {
            case "dtype" where dtypeName == nil: dtypeName = try scanner.scanString()
            case "shape" where dimensions == nil: dimensions = try scanIntegers(&scanner, key, tensor: name)
            case "data_offsets" where offsets == nil: offsets = try scanIntegers(&scanner, key, tensor: name)
            case "dtype", "shape", "data_offsets":
                throw LaminaError(.malformed, "", "\"\(key)\" is given twice", tensor: name)
            default: try scanner.skipValue()
            }
        }
        guard let dtypeName, let dimensions, let offsets else {
            throw LaminaError(.malformed, "", "dtype, shape or data_offsets is missing", tensor: name)
        }
        guard let dtype = DType(rawValue: dtypeName) else {
            throw LaminaError(
                .malformed, "", "dtype \(dtypeName) is not supported",
                expected: DType.allCases.map(\.rawValue).joined(separator: ", "), tensor: name)
        }
        return try tensor(name, dtype, Shape(dimensions), offsets)
    }

    /// Plain non-negative integers only: no fraction, no exponent, no sign.
    private static func scanIntegers(
        _ scanner: inout JSONScanner, _ key: String, tensor: String
    ) throws(LaminaError) -> [Int] {
        guard try scanner.peekKind() == .array else {
            throw LaminaError(.malformed, "", "\"\(key)\" is not a list", tensor: tensor)
        }
        var values: [Int] = []
        try scanner.scanArray { (scanner) throws(LaminaError) in
            guard try scanner.peekKind() == .number else {
                throw LaminaError(.malformed, "", "\"\(key)\" holds something other than numbers", tensor: tensor)
            }
            let text = try scanner.scanNumber()
            guard let value = Int(text), value >= 0, !text.hasPrefix("-"), values.count < 64 else {
                throw LaminaError(
                    .malformed, "", "bad number in \"\(key)\"", expected: "integers from 0 to \(Int.max)",
                    found: escapedForDisplay(text, limit: 40), tensor: tensor)
            }
            values.append(value)
        }
        return values
    }

    private static func tensor(
        _ name: String, _ dtype: DType, _ shape: Shape, _ offsets: [Int]
    ) throws(LaminaError) -> SourceTensor {
        if let problem = shape.problem(elementSize: dtype.size) {
            throw LaminaError(.malformed, "", problem, tensor: name)
        }
        guard offsets.count == 2, offsets[0] <= offsets[1] else {
            throw LaminaError(
                .malformed, "", "data_offsets are not a range", expected: "[begin, end] with begin <= end",
                found: "\(offsets.prefix(4))", tensor: name)
        }
        let bytes = UInt64(offsets[0])..<UInt64(offsets[1])
        let size = UInt64(shape.elementCount * dtype.size)
        guard UInt64(bytes.count) == size else {
            throw LaminaError(
                .malformed, "", "dtype and shape contradict data_offsets",
                expected: "\(size) bytes for \(dtype.rawValue) \(shape)", found: "\(bytes.count)", tensor: name)
        }
        return SourceTensor(name: name, dtype: dtype, shape: shape, bytes: bytes)
    }

    /// No overlap, no hole, nothing left over: every byte of the data belongs to one tensor.
    private static func checkCoverage(_ tensors: [SourceTensor], dataSize: UInt64, file: String)
        throws(LaminaError)
    {
        var end: UInt64 = 0
        var previous: String?
        for tensor in tensors {
            let start = tensor.bytes.lowerBound
            if start != end {
                let what = start < end ? "overlaps" : "leaves a hole of \(start - end) bytes after"
                throw LaminaError(
                    .malformed, file,
                    "the tensor \(what) \(previous.map { "tensor \(escapedForDisplay($0))" } ?? "the header")",
                    expected: "data from \(end)", found: "\(start)", tensor: tensor.name)
            }
            end = tensor.bytes.upperBound
            previous = tensor.name
        }
        guard end == dataSize else {
            throw LaminaError(
                .malformed, file, "the data part has the wrong size", expected: "\(end) bytes", found: "\(dataSize)",
                hint: dataSize < end ? "the download is incomplete; get the file again" : nil)
        }
    }
}
