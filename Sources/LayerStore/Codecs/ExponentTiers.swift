import CKernels
import TensorCore

/// `exp-tier` for BF16: exponents by frequency rank in three tiers of two bits, sign and mantissa raw. Within 1 % of
/// `exp-huf`'s size, decoded several times as fast, and multiplied without being decoded first.
public struct ExponentTiers: Codec {
    public init() {}
    public var identifier: UInt8 { 4 }
    public var name: String { "exp-tier" }
    public var dtype: DType? { .bfloat16 }

    public func planes(elementSize: Int) -> [PlaneSpecification] {
        [PlaneSpecification(name: "words", bytesPerElement: elementSize, coding: .expTier)]
    }

    public func split(
        _ elements: UnsafeRawPointer, into planes: [UnsafeMutableRawPointer], count: Int, kernels: KernelTable
    ) {
        // One plane: the elements themselves, which are coded as a whole.
    }

    public func merge(
        _ planes: UnsafePointer<UnsafeRawPointer>, into elements: UnsafeMutableRawPointer, count: Int,
        kernels: KernelTable
    ) {}
}

extension ChunkGeometry {
    /// Words per segment where units are rows.
    private static let rowSegmentWords = 65_536

    /// Segments of chunk `index` under `exp-tier`: one per panel, so that threads can share a chunk and a panel can be
    /// multiplied as it is; runs of 65,536 words where the layout is rows.
    public func tierSegmentCount(ofChunk index: Int) -> Int {
        let extent = chunk(index)
        return layout == .panel64
            ? extent.unitCount : dividedUp(extent.elementCount, by: ChunkGeometry.rowSegmentWords)
    }

    /// Words in segment `segment` of a chunk.
    public func tierSegmentWords(_ segment: Int, of extent: ChunkExtent) -> Int {
        layout == .panel64
            ? width(ofUnit: extent.firstUnit + segment) * extent.columnCount
            : min(ChunkGeometry.rowSegmentWords, extent.elementCount - segment * ChunkGeometry.rowSegmentWords)
    }
}

/// The segments of a chunk coded with `exp-tier`, found through its directory.
public struct TierChunk {
    private let directory: SegmentDirectory

    /// `nil` if the directory is not that of `segmentCount` adjacent segments, for a slot of `slotWords`, that fill
    /// `bytes`.
    public init?(_ bytes: UnsafeRawBufferPointer, segmentCount: Int, slotWords: Int) {
        guard let directory = SegmentDirectory(bytes, segmentCount: segmentCount, facts: [slotWords]) else {
            return nil
        }
        self.directory = directory
    }

    public var segmentCount: Int { directory.segmentCount }

    /// The bytes of one segment.
    public func segment(_ index: Int) -> UnsafeRawBufferPointer { directory.segment(index) }

    /// Room that suffices for the chunk of `geometry` that takes most, whatever its words are.
    public static func bound(_ geometry: ChunkGeometry) -> Int {
        guard geometry.chunkCount > 0 else { return 0 }
        let extent = geometry.chunk(0)
        let segments = geometry.tierSegmentCount(ofChunk: 0)
        return (0..<segments).reduce(SegmentDirectory.byteCount(segmentCount: segments, facts: [0])) {
            $0 + lamina_tier_bound(geometry.tierSegmentWords($1, of: extent))
        }
    }

    /// Codes the words of one chunk into `room`, which has `bound` bytes; returns the size.
    public static func encode(
        _ words: UnsafeRawPointer, chunk index: Int, of geometry: ChunkGeometry, into room: UnsafeMutableRawPointer,
        kernels: KernelTable
    ) -> Int {
        let extent = geometry.chunk(index)
        var source = words.assumingMemoryBound(to: UInt16.self)
        return SegmentDirectory.write(
            segmentCount: geometry.tierSegmentCount(ofChunk: index), facts: [geometry.slotElements], to: room
        ) { segment, place in
            let count = geometry.tierSegmentWords(segment, of: extent)
            defer { source += count }
            return kernels.pointee.encode_tier(source, count, place)
        }
    }

    /// Decodes all words of a chunk and zeroes the rest of its slot; false if a segment is not what the geometry says.
    public func decode(
        chunk index: Int, of geometry: ChunkGeometry, into words: UnsafeMutableRawPointer,
        scratch: UnsafeMutableRawPointer, kernels: KernelTable
    ) -> Bool {
        let extent = geometry.chunk(index)
        var target = words.assumingMemoryBound(to: UInt16.self)
        for index in 0..<segmentCount {
            let segment = segment(index)
            let count = geometry.tierSegmentWords(index, of: extent)
            guard kernels.pointee.decode_tier(segment.baseAddress, segment.count, target, count, scratch) else {
                return false
            }
            target += count
        }
        target.update(repeating: 0, count: geometry.slotElements - extent.elementCount)
        return true
    }
}
