import TensorCore

extension ShardHeader {
    /// The user block, `userBlockSize` bytes, zero behind the table.
    public func encoded() -> [UInt8] {
        var table = LittleEndianWriter()
        for tensor in tensors { ShardHeader.write(tensor, to: &table) }
        var header = LittleEndianWriter()
        header.bytes = ShardHeader.magic
        header.append(ShardHeader.version)
        header.append(UInt32(tensors.count))
        header.append(userBlockSize)
        header.append(fileSize)
        header.append(UInt64(table.bytes.count))
        header.append(table.bytes.withUnsafeBytes { xxh3($0) })
        header.append(header.bytes.withUnsafeBytes { xxh3($0) })
        header.append(UInt64(0))
        let used = header.bytes.count + table.bytes.count
        return header.bytes + table.bytes + [UInt8](repeating: 0, count: Int(userBlockSize) - used)
    }

    private static func write(_ tensor: TensorRecord, to table: inout LittleEndianWriter) {
        let name = Array(tensor.name.utf8)
        table.append(UInt16(name.count))
        table.append(tensor.dtype.code)
        table.append(tensor.geometry.layout.rawValue)
        table.append(tensor.codec.identifier)
        table.append(UInt8(tensor.shape.dimensions.count))
        table.append(UInt16(tensor.planes.count))
        table.append(UInt64(tensor.geometry.unitsPerChunk))
        table.append(UInt64(tensor.geometry.columnsPerChunk))
        table.append(UInt64(tensor.geometry.chunkCount))
        for dimension in tensor.shape.dimensions { table.append(UInt64(dimension)) }
        table.bytes += name
        table.bytes += [UInt8](repeating: 0, count: roundedUp(name.count, to: 8) - name.count)
        for chunk in tensor.chunks {
            table.append(chunk.offset)
            table.append(chunk.hash)
            table.append(chunk.storedSize)
            table.append(chunk.encoding.rawValue)
            table.bytes += [0, 0, 0]
        }
    }

    /// The sizes a file's first 64 bytes state. Throws `.damaged` where a checksum differs, `.malformed` for what no
    /// writer of this version produces.
    public static func sizes(
        fixed bytes: [UInt8], file: String, fileSize: UInt64
    ) throws(LaminaError) -> (userBlock: UInt64, table: UInt64) {
        guard bytes.count == fixedSize, Array(bytes[0..<8]) == magic else {
            throw LaminaError(.damaged, file, "not a Lamina shard: the magic number differs", bytes: 0..<8)
        }
        var reader = LittleEndianReader(bytes[8...])
        let version: UInt32 = reader.next()
        guard bytes.withUnsafeBytes({ xxh3(UnsafeRawBufferPointer(rebasing: $0[0..<48])) }) == value(bytes, at: 48)
        else {
            throw LaminaError(.damaged, file, "the header's checksum differs", bytes: 0..<56)
        }
        guard version == ShardHeader.version else {
            throw LaminaError(
                .malformed, file, "this shard has another format version",
                expected: "\(ShardHeader.version)", found: "\(version)",
                hint: "use the Lamina that wrote it, or convert again")
        }
        let userBlock: UInt64 = value(bytes, at: 16)
        let statedSize: UInt64 = value(bytes, at: 24)
        let table: UInt64 = value(bytes, at: 32)
        guard statedSize == fileSize else {
            throw LaminaError(
                .damaged, file, "the file has the wrong size", expected: "\(statedSize) bytes", found: "\(fileSize)")
        }
        guard userBlock >= 4096, userBlock <= maximumUserBlock, userBlock & (userBlock - 1) == 0,
            userBlock <= fileSize, table <= userBlock - UInt64(fixedSize)
        else { throw LaminaError(.malformed, file, "the header's sizes are impossible", bytes: 16..<40) }
        return (userBlock, table)
    }

    /// The header out of a whole user block. Throws as `sizes`.
    public init(userBlock bytes: [UInt8], file: String, fileSize: UInt64) throws(LaminaError) {
        let fixed = Array(bytes.prefix(ShardHeader.fixedSize))
        let (userBlock, tableSize) = try ShardHeader.sizes(fixed: fixed, file: file, fileSize: fileSize)
        let end = ShardHeader.fixedSize + Int(tableSize)
        guard bytes.count >= end else { throw LaminaError(.damaged, file, "the file ends inside its header") }
        let tableHash = bytes.withUnsafeBytes {
            xxh3(UnsafeRawBufferPointer(rebasing: $0[ShardHeader.fixedSize..<end]))
        }
        guard tableHash == ShardHeader.value(bytes, at: 40) else {
            throw LaminaError(
                .damaged, file, "the tensor table's checksum differs",
                bytes: UInt64(ShardHeader.fixedSize)..<UInt64(end))
        }
        let count: UInt32 = ShardHeader.value(bytes, at: 12)
        var reader = LittleEndianReader(bytes[ShardHeader.fixedSize..<end])
        var tensors: [TensorRecord] = []
        var names: Set<[UInt8]> = []
        for _ in 0..<count {
            let tensor = try ShardHeader.readTensor(&reader, file: file, dataStart: userBlock, dataEnd: fileSize)
            guard names.insert(Array(tensor.name.utf8)).inserted else {
                throw LaminaError(.malformed, file, "the tensor is listed twice", tensor: tensor.name)
            }
            tensors.append(tensor)
        }
        guard reader.isAtEnd, !reader.failed else {
            throw LaminaError(.malformed, file, "the tensor table has the wrong size")
        }
        self.init(userBlockSize: userBlock, fileSize: fileSize, tensors: tensors)
    }

    private static func value<T: FixedWidthInteger>(_ bytes: [UInt8], at offset: Int) -> T {
        var reader = LittleEndianReader(bytes[offset...])
        return reader.next()
    }

    private static func readTensor(
        _ reader: inout LittleEndianReader, file: String, dataStart: UInt64, dataEnd: UInt64
    ) throws(LaminaError) -> TensorRecord {
        let nameBytes: UInt16 = reader.next()
        let dtypeCode: UInt8 = reader.next()
        let layoutCode: UInt8 = reader.next()
        let codecCode: UInt8 = reader.next()
        let rank: UInt8 = reader.next()
        let planeCount: UInt16 = reader.next()
        let unitsPerChunk: UInt64 = reader.next()
        let columnsPerChunk: UInt64 = reader.next()
        let chunkCount: UInt64 = reader.next()
        let limit = UInt64(Shape.maximumDimension)
        guard let dtype = DType(code: dtypeCode), let layout = TensorLayout(rawValue: layoutCode),
            let codec = Codecs.identified(codecCode), Int(rank) <= Shape.maximumRank,
            unitsPerChunk <= limit, columnsPerChunk <= limit, chunkCount <= maximumUserBlock
        else { throw LaminaError(.malformed, file, "a tensor record has unknown dtype, layout, codec or sizes") }
        var dimensions: [Int] = []
        for _ in 0..<rank {
            let dimension: UInt64 = reader.next()
            dimensions.append(Int(min(dimension, limit + 1)))
        }
        guard let name = reader.string(bytes: Int(nameBytes), paddedTo: 8) else {
            throw LaminaError(.malformed, file, "a tensor name is cut off or not UTF-8")
        }
        let shape = Shape(dimensions)
        if let problem = shape.problem(elementSize: dtype.size) {
            throw LaminaError(.malformed, file, problem, tensor: name)
        }
        let scheme = codec as? any QuantizationScheme
        let geometry = ChunkGeometry(
            shape: shape, dtype: dtype, layout: layout, scheme: scheme, unitsPerChunk: Int(unitsPerChunk),
            columnsPerChunk: Int(columnsPerChunk), maximumChunkBytes: maximumChunkBytes)
        let planes = codec.planes(elementSize: dtype.size)
        guard let geometry, geometry.chunkCount == Int(chunkCount), planes.count == Int(planeCount),
            codec.dtype == nil || codec.dtype == dtype, (scheme != nil) == (layout == .panel16),
            dtype.fits(layout)
        else { throw LaminaError(.malformed, file, "chunk geometry contradicts the shape", tensor: name) }
        let chunks = try readChunks(
            &reader, geometry: geometry, planes: planes, file: file, tensor: name, dataStart: dataStart,
            dataEnd: dataEnd)
        return TensorRecord(name: name, dtype: dtype, shape: shape, codec: codec, geometry: geometry, chunks: chunks)
    }

    private static func readChunks(
        _ reader: inout LittleEndianReader, geometry: ChunkGeometry, planes: [PlaneSpecification], file: String,
        tensor: String, dataStart: UInt64, dataEnd: UInt64
    ) throws(LaminaError) -> [ChunkRecord] {
        let count = geometry.chunkCount * planes.count
        guard reader.remaining / recordSize >= count else {
            throw LaminaError(.malformed, file, "the chunk table is cut off", tensor: tensor)
        }
        var chunks: [ChunkRecord] = []
        chunks.reserveCapacity(count)
        for index in 0..<count {
            let offset: UInt64 = reader.next()
            let hash: UInt64 = reader.next()
            let size: UInt32 = reader.next()
            let code: UInt8 = reader.next()
            reader.skip(3)
            let plane = planes[index % planes.count]
            let slot = plane.slotBytes(geometry)
            guard let encoding = ChunkRecord.Encoding(rawValue: code), offset % alignment == 0, offset >= dataStart,
                let end = Checked.add(offset, UInt64(size)), end <= dataEnd,
                encoding == .raw ? Int(size) == slot : (encoding == plane.coding && size > 0 && Int(size) < slot)
            else { throw LaminaError(.malformed, file, "chunk \(index) has impossible bounds", tensor: tensor) }
            chunks.append(ChunkRecord(offset: offset, storedSize: size, encoding: encoding, hash: hash))
        }
        try checkAdjacency(chunks, planes: planes.count, geometry: geometry, file: file, tensor: tensor)
        return chunks
    }
}

extension ShardHeader {
    /// The planes of a chunk are read in one piece: they must lie together, with room for alignment and a little
    /// HDF5 structure in between.
    private static func checkAdjacency(
        _ chunks: [ChunkRecord], planes: Int, geometry: ChunkGeometry, file: String, tensor: String
    ) throws(LaminaError) {
        let limit = UInt64(geometry.slotBytes) + UInt64(planes) * alignment + (1 << 20)
        for first in stride(from: 0, to: chunks.count, by: planes) {
            let records = chunks[first..<(first + planes)]
            let start = records.map(\.offset).min() ?? 0
            let end = records.map { $0.offset + UInt64($0.storedSize) }.max() ?? 0
            guard end - start <= limit else {
                throw LaminaError(
                    .malformed, file, "the planes of chunk \(first / planes) lie too far apart", tensor: tensor)
            }
        }
    }
}

extension DType {
    /// Stable number in shard headers.
    public var code: UInt8 {
        switch self {
        case .bool: 1
        case .uint8: 2
        case .int8: 3
        case .float8E4M3: 4
        case .float8E5M2: 5
        case .uint16: 6
        case .int16: 7
        case .float16: 8
        case .bfloat16: 9
        case .uint32: 10
        case .int32: 11
        case .float32: 12
        case .uint64: 13
        case .int64: 14
        case .float64: 15
        }
    }

    init?(code: UInt8) {
        guard let dtype = DType.allCases.first(where: { $0.code == code }) else { return nil }
        self = dtype
    }
}

/// Appends integers, least significant byte first.
struct LittleEndianWriter {
    var bytes: [UInt8] = []

    mutating func append<T: FixedWidthInteger>(_ value: T) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }
}

/// Reads integers, least significant byte first; past the end it yields zeros and notes the failure.
struct LittleEndianReader {
    private let bytes: ArraySlice<UInt8>
    private var position: Int
    private(set) var failed = false

    init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        position = bytes.startIndex
    }

    var remaining: Int { bytes.endIndex - position }
    var isAtEnd: Bool { remaining == 0 }

    mutating func next<T: FixedWidthInteger>() -> T {
        let size = MemoryLayout<T>.size
        guard remaining >= size else {
            failed = true
            position = bytes.endIndex
            return 0
        }
        var value: T = 0
        for index in (0..<size).reversed() { value = value << 8 | T(truncatingIfNeeded: bytes[position + index]) }
        position += size
        return value
    }

    mutating func skip(_ count: Int) {
        failed = failed || remaining < count
        position = min(position + count, bytes.endIndex)
    }

    mutating func string(bytes count: Int, paddedTo multiple: Int) -> String? {
        let padded = roundedUp(count, to: multiple)
        guard remaining >= padded else { return nil }
        let text = String(validating: bytes[position..<(position + count)], as: UTF8.self)
        position += padded
        return text
    }
}
