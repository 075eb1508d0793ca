import CHDF5
import TensorCore

/// Writes the HDF5 side of a shard: groups, attributes and chunked datasets behind a user block that belongs to
/// the caller.
///
/// All bytes go through an `OpenFile`, chunks at once and the structure's metadata in `finish`, so that a file without
/// `finish` is no HDF5 file. The same calls give the same bytes, whatever the version of libhdf5. Chunks and metadata
/// are aligned to 4096 bytes; metadata that is created before the first chunk lies in one piece in front of it, and
/// chunks written one after another lie side by side.
///
/// After an error every further call throws it again. One thread at a time; files are independent of each other.
package final class HDF5File {
    /// A group, valid for the file that made it.
    package struct Group: Sendable {
        fileprivate let number: lamina_hdf5_object

        /// The group every file begins with.
        package static let root = Group(number: lamina_hdf5_object(LAMINA_HDF5_ROOT))
    }

    /// A one-dimensional dataset in chunks, valid for the file that made it.
    package struct Dataset: Sendable {
        fileprivate let number: lamina_hdf5_object
    }

    /// What a reader has to do to a dataset's chunks.
    package enum Filter: Sendable {
        /// Nothing.
        case none
        /// Decode a zstd frame that states its content size: HDF5's registered filter 32015.
        case zstd
        /// Decode segments of BF16 words whose exponents are coded by rank: filter 44554, Lamina's own.
        case expTier
        /// Decode segments of quantized panels whose codes are coded in tiers: filter 44555, Lamina's own.
        case ecqTier

        fileprivate var number: lamina_hdf5_filter {
            switch self {
            case .none: LAMINA_HDF5_NO_FILTER
            case .zstd: LAMINA_HDF5_ZSTD
            case .expTier: LAMINA_HDF5_EXP_TIER
            case .ecqTier: LAMINA_HDF5_ECQ_TIER
            }
        }
    }

    /// What a dataset is made of, little-endian.
    package enum Element: Sendable {
        case byte, int32, float64

        fileprivate var number: lamina_hdf5_element {
            switch self {
            case .byte: LAMINA_HDF5_BYTE
            case .int32: LAMINA_HDF5_INT32
            case .float64: LAMINA_HDF5_FLOAT64
            }
        }
    }

    /// The value of an attribute.
    package enum Value: Sendable, Equatable {
        /// UTF-8 of fixed length.
        case text(String)
        case integer(Int64)
        /// Shapes, and whatever else counts.
        case naturals([UInt64])
    }

    /// A named attribute of a group or a dataset.
    package struct Attribute: Sendable, Equatable {
        package var name: String
        package var value: Value

        package init(_ name: String, _ value: Value) {
            self.name = name
            self.value = value
        }
    }

    /// Where the bytes go, and the first failure on the way there: libhdf5 passes on only that there was one.
    private final class Output {
        let file: OpenFile
        var failure: LaminaError?

        init(_ file: OpenFile) { self.file = file }

        /// Runs `body` for libhdf5: 0, or -1 with the error kept.
        func run(_ body: (Output) throws(LaminaError) -> Void) -> Int32 {
            do {
                try body(self)
                return 0
            } catch {
                if failure == nil { failure = error }
                return -1
            }
        }
    }

    private let output: Output
    private let userBlockSize: Int
    /// Freed by `deinit` only.
    private var handle: OpaquePointer
    private var failure: LaminaError?

    /// Begins the structure behind the first `userBlockSize` bytes (a power of two, at least 4096) of an empty file
    /// that is open for reading and writing. Throws `.unexpected` if libhdf5 refuses.
    package init(file: OpenFile, userBlockSize: Int) throws(LaminaError) {
        let output = Output(file)
        let callbacks = lamina_hdf5_output(
            context: Unmanaged.passUnretained(output).toOpaque(),
            write: { context, bytes, size, offset in
                guard let context, let bytes else { return -1 }
                return Unmanaged<Output>.fromOpaque(context).takeUnretainedValue().run { (output) throws(LaminaError) in
                    try output.file.write(UnsafeRawBufferPointer(start: bytes, count: size), at: offset)
                }
            },
            truncate: { context, size in
                guard let context else { return -1 }
                return Unmanaged<Output>.fromOpaque(context).takeUnretainedValue().run { (output) throws(LaminaError) in
                    try output.file.truncate(to: size)
                }
            })
        var created: OpaquePointer?
        let problem = withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { message in
            created = lamina_hdf5_create(callbacks, UInt64(max(userBlockSize, 0)), message.baseAddress, message.count)
            return created == nil ? message.baseAddress.map { String(cString: $0) } ?? "" : ""
        }
        guard let created else { throw LaminaError(.unexpected, file.path, problem) }
        handle = created
        self.output = output
        self.userBlockSize = userBlockSize
    }

    deinit { lamina_hdf5_discard(handle) }

    /// The version of libhdf5 in use, as `1.10.8`.
    package static var libraryVersion: String {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 32) { text in
            lamina_hdf5_version(text.baseAddress, text.count)
            return text.baseAddress.map { String(cString: $0) } ?? ""
        }
    }

    /// The link name for a tensor or plane called `name`: HDF5 takes `/` for a path separator and a lone `.` for the
    /// group itself, and tools print control characters as they are.
    ///
    /// Each byte of `/`, `%`, U+0000 to U+001F and U+007F becomes `%` and two upper-case hexadecimal digits; so does a
    /// name that is only `.`; the empty name becomes `%`. Nothing else changes, and different names stay different.
    package static func linkName(for name: String) -> String {
        if name.isEmpty { return "%" }
        if name == "." { return "%2E" }
        let digits = Array("0123456789ABCDEF".utf8)
        var result: [UInt8] = []
        for byte in name.utf8 {
            if byte < 0x20 || byte == 0x7F || byte == UInt8(ascii: "/") || byte == UInt8(ascii: "%") {
                result += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            } else {
                result.append(byte)
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    /// Makes a group inside `parent`, linked as `linkName(for: name)`. Throws `.unexpected` if there is one already.
    package func makeGroup(
        _ name: String, in parent: Group = .root, attributes: [Attribute] = []
    ) throws(LaminaError) -> Group {
        try checkIsIntact()
        let number = try check(lamina_hdf5_make_group(handle, parent.number, HDF5File.linkName(for: name)))
        try set(attributes, of: number)
        return Group(number: number)
    }

    /// Makes a dataset of `bytes` bytes in chunks of `chunkBytes`, whole elements both; the last chunk is stored whole
    /// even if less than all of it counts. Throws `.unexpected` for an impossible size or a name that is taken.
    package func makeDataset(
        _ name: String, in group: Group, of element: Element = .byte, bytes: Int, chunkBytes: Int, filter: Filter,
        attributes: [Attribute] = []
    ) throws(LaminaError) -> Dataset {
        try checkIsIntact()
        guard bytes >= 0, let chunk = UInt32(exactly: chunkBytes) else { throw refusal("impossible dataset size") }
        let number = try check(
            lamina_hdf5_make_dataset(
                handle, group.number, HDF5File.linkName(for: name), element.number, UInt64(bytes), chunk,
                filter.number))
        try set(attributes, of: number)
        return Dataset(number: number)
    }

    package func setAttributes(_ attributes: [Attribute], of group: Group) throws(LaminaError) {
        try checkIsIntact()
        try set(attributes, of: group.number)
    }

    /// Writes chunk `index` as it is to be stored, and returns its offset in the file.
    ///
    /// `skippingFilter` says that the bytes are the chunk itself although the dataset has a filter. Each chunk is written
    /// once. Throws `.io`, or `.unexpected` for a chunk that does not exist or has the wrong size.
    @discardableResult
    package func writeChunk(
        _ index: Int, of dataset: Dataset, _ bytes: UnsafeRawBufferPointer, skippingFilter: Bool = false
    ) throws(LaminaError) -> UInt64 {
        try checkIsIntact()
        guard index >= 0 else { throw refusal("no such chunk") }
        var offset: UInt64 = 0
        _ = try check(
            lamina_hdf5_write_chunk(
                handle, dataset.number, UInt64(index), bytes.baseAddress, bytes.count,
                skippingFilter ? UInt32(LAMINA_HDF5_FILTER_SKIPPED) : 0, &offset
            ).rawValue)
        return offset
    }

    /// Where libhdf5's own index says that chunk `index` lies in the file, proved by reading `storedSize` bytes whose
    /// XXH3 must be `hash`.
    ///
    /// The library's addresses count from the end of the user block in 1.10 and from the start of the file in 2.0, so
    /// both places are tried. Throws `.damaged` if the chunk is at neither, `.io` if it cannot be read.
    package func chunkOffset(
        _ index: Int, of dataset: Dataset, storedSize: Int, hash: UInt64
    ) throws(LaminaError) -> UInt64 {
        try checkIsIntact()
        guard index >= 0 else { throw refusal("no such chunk") }
        var address: UInt64 = 0
        var size: UInt64 = 0
        var mask: UInt32 = 0
        _ = try check(
            lamina_hdf5_chunk_info(handle, dataset.number, UInt64(index), &address, &size, &mask).rawValue)
        if size == UInt64(storedSize) {
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: storedSize, alignment: 4096)
            defer { buffer.deallocate() }
            for candidate in [address + UInt64(userBlockSize), address] {
                let count = try output.file.read(into: buffer, at: candidate)
                if count == storedSize, xxh3(UnsafeRawBufferPointer(buffer)) == hash { return candidate }
            }
        }
        throw LaminaError(
            .damaged, output.file.path, "a chunk just written is not where the HDF5 index has it",
            expected: "\(storedSize) bytes", found: "\(size) bytes at \(address)")
    }

    /// Closes the structure and writes it out; returns the file's size, a multiple of 4096. The user block and
    /// durability are the caller's. Throws `.io`, or `.unexpected` if a dataset lacks a chunk.
    package func finish() throws(LaminaError) -> UInt64 {
        try checkIsIntact()
        var size: UInt64 = 0
        _ = try check(lamina_hdf5_finish(handle, &size).rawValue)
        return size
    }

    /// How many files, groups and datasets libhdf5 holds open in this process; for tests.
    package static var openObjects: Int { Int(lamina_hdf5_open_objects()) }

    private func set(_ attributes: [Attribute], of number: lamina_hdf5_object) throws(LaminaError) {
        for attribute in attributes {
            let status =
                switch attribute.value {
                case .text(let text):
                    text.utf8CString.withUnsafeBufferPointer { bytes in
                        lamina_hdf5_set_text(handle, number, attribute.name, bytes.baseAddress, bytes.count - 1)
                    }
                case .integer(let value): lamina_hdf5_set_integer(handle, number, attribute.name, value)
                case .naturals(let values):
                    lamina_hdf5_set_naturals(handle, number, attribute.name, values, values.count)
                }
            _ = try check(status.rawValue)
        }
    }

    private func checkIsIntact() throws(LaminaError) {
        if let failure { throw failure }
    }

    /// `status`, or the error behind a negative one.
    private func check(_ status: Int32) throws(LaminaError) -> Int32 {
        guard status < 0 else { return status }
        throw output.failure.map(keep) ?? refusal(String(cString: lamina_hdf5_message(handle)))
    }

    private func refusal(_ problem: String) -> LaminaError {
        keep(LaminaError(.unexpected, output.file.path, problem))
    }

    private func keep(_ error: LaminaError) -> LaminaError {
        failure = error
        return error
    }
}
