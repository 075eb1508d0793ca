import CTierFilters
import Foundation
import Testing

/// A buffer as HDF5 hands it to a filter: allocated with `malloc`, exactly as large as what is in it, so that a memory
/// checker sees every byte read behind it.
final class FilterBuffer {
    private var start: UnsafeMutableRawPointer?
    private var capacity: Int

    init(_ bytes: [UInt8]) {
        start = malloc(max(bytes.count, 1))
        capacity = bytes.count
        bytes.withUnsafeBytes { if let base = $0.baseAddress { start?.copyMemory(from: base, byteCount: $0.count) } }
    }

    deinit { free(start) }

    /// What the filter makes of the buffer's `count` bytes; `nil` if it fails, which must leave the buffer alone.
    func run(
        _ filterClass: lamina_hdf5_filter_class, _ count: Int, flags: UInt32, parameters: [UInt32] = []
    ) throws -> [UInt8]? {
        let before = (start, capacity)
        let filter = try #require(filterClass.filter)
        let size = filter(flags, parameters.count, parameters, count, &capacity, &start)
        if size == 0 {
            #expect(start == before.0 && capacity == before.1)
            return nil
        }
        #expect(size <= capacity)
        return start.map { [UInt8](UnsafeRawBufferPointer(start: $0, count: size)) }
    }
}

/// Unsigned integers of 4 bytes, as chunks have them.
func integers(_ values: [UInt32]) -> [UInt8] {
    values.flatMap { value in (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }
}
