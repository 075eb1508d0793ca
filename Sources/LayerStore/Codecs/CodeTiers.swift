import CKernels
import TensorCore

extension ChunkGeometry {
    /// Codes in a segment of `ecq-tier`, about: what decoding fills stays in the first cache levels.
    private static let codesPerSegment = 65_536
    /// Steps and escapes in front of a panel's codes.
    static let panelHeaderBytes = 64

    /// Bytes of a panel's codes, for panels of one byte a weight.
    var panelCodeBytes: Int { panelBytes - ChunkGeometry.panelHeaderBytes }
    /// Panels in each segment but the last.
    var panelsPerCodeSegment: Int { max(1, ChunkGeometry.codesPerSegment / max(1, panelCodeBytes)) }

    /// What a coded chunk says about its slot, so that HDF5's filter need not be told: panels, columns, and a zero.
    var codeChunkFacts: [Int] { [unitsPerChunk, columns, 0] }

    /// Segments of a chunk under `ecq-tier`.
    public func codeSegmentCount(of extent: ChunkExtent) -> Int {
        dividedUp(extent.unitCount, by: panelsPerCodeSegment)
    }

    /// Panels in segment `segment` of a chunk, counted from the chunk's first.
    public func codeSegmentPanels(_ segment: Int, of extent: ChunkExtent) -> Range<Int> {
        let first = segment * panelsPerCodeSegment
        return first..<min(extent.unitCount, first + panelsPerCodeSegment)
    }
}

/// The segments of a chunk coded with `ecq-tier`: panels of ROW8 whose codes are coded by how frequent they are.
public struct CodeTierChunk {
    private let directory: SegmentDirectory
    private let geometry: ChunkGeometry
    private let extent: ChunkExtent

    /// `nil` if `bytes` do not begin with the directory of chunk `index`.
    public init?(_ bytes: UnsafeRawBufferPointer, chunk index: Int, of geometry: ChunkGeometry) {
        extent = geometry.chunk(index)
        self.geometry = geometry
        let directory = SegmentDirectory(
            bytes, segmentCount: geometry.codeSegmentCount(of: extent), facts: geometry.codeChunkFacts)
        guard let directory else { return nil }
        self.directory = directory
    }

    public var segmentCount: Int { directory.segmentCount }

    /// Decodes one segment to its panels in `slot`; false if it is not what the geometry says. `gathered` has room for the
    /// codes of a segment, never more than a slot, `scratch` is what `decode_codes` wants.
    public func decode(
        segment: Int, into slot: UnsafeMutableRawPointer, gathered: UnsafeMutableRawPointer,
        scratch: UnsafeMutableRawPointer, kernels: KernelTable
    ) -> Bool {
        let panels = geometry.codeSegmentPanels(segment, of: extent)
        let bytes = directory.segment(segment)
        let header = ChunkGeometry.panelHeaderBytes
        let codeBytes = geometry.panelCodeBytes
        guard bytes.count > panels.count * header, let start = bytes.baseAddress else { return false }
        var panel = slot + panels.lowerBound * geometry.panelBytes
        // A single panel's codes are one piece in the slot, too.
        let codes = panels.count == 1 ? panel + header : gathered
        guard
            kernels.pointee.decode_codes(
                start + panels.count * header, bytes.count - panels.count * header,
                codes.assumingMemoryBound(to: UInt8.self), panels.count * codeBytes, scratch)
        else { return false }
        for index in 0..<panels.count {
            panel.copyMemory(from: start + index * header, byteCount: header)
            if panels.count > 1 {
                (panel + header).copyMemory(from: codes + index * codeBytes, byteCount: codeBytes)
            }
            panel += geometry.panelBytes
        }
        return true
    }

    /// Decodes all panels of a chunk and zeroes the rest of its slot; false as for a segment.
    public func decode(
        into slot: UnsafeMutableRawPointer, gathered: UnsafeMutableRawPointer, scratch: UnsafeMutableRawPointer,
        kernels: KernelTable
    ) -> Bool {
        for segment in 0..<segmentCount {
            guard
                decode(segment: segment, into: slot, gathered: gathered, scratch: scratch, kernels: kernels)
            else { return false }
        }
        let used = extent.unitCount * geometry.panelBytes
        (slot + used).initializeMemory(as: UInt8.self, repeating: 0, count: geometry.slotBytes - used)
        return true
    }

    /// Room that suffices for any chunk of `geometry`, whatever its codes are.
    public static func bound(_ geometry: ChunkGeometry) -> Int {
        guard geometry.chunkCount > 0 else { return 0 }
        let extent = geometry.chunk(0)
        let segments = geometry.codeSegmentCount(of: extent)
        return (0..<segments).reduce(
            SegmentDirectory.byteCount(
                segmentCount: segments, facts: geometry.codeChunkFacts)
        ) { size, segment in
            let panels = geometry.codeSegmentPanels(segment, of: extent).count
            return size + panels * ChunkGeometry.panelHeaderBytes + lamina_codes_bound(panels * geometry.panelCodeBytes)
        }
    }

    /// Codes the panels of one chunk into `room`, which has `bound` bytes; returns the size. `gathered` as for decoding.
    public static func encode(
        _ slot: UnsafeRawPointer, chunk index: Int, of geometry: ChunkGeometry, into room: UnsafeMutableRawPointer,
        gathered: UnsafeMutableRawPointer, kernels: KernelTable
    ) -> Int {
        let extent = geometry.chunk(index)
        let header = ChunkGeometry.panelHeaderBytes
        let codeBytes = geometry.panelCodeBytes
        return SegmentDirectory.write(
            segmentCount: geometry.codeSegmentCount(of: extent), facts: geometry.codeChunkFacts, to: room
        ) { segment, place in
            let panels = geometry.codeSegmentPanels(segment, of: extent)
            for (offset, panel) in panels.enumerated() {
                let source = slot + panel * geometry.panelBytes
                (place + offset * header).copyMemory(from: source, byteCount: header)
                (gathered + offset * codeBytes).copyMemory(from: source + header, byteCount: codeBytes)
            }
            let coded = kernels.pointee.encode_codes(
                gathered.assumingMemoryBound(to: UInt8.self), panels.count * codeBytes, place + panels.count * header)
            return panels.count * header + coded
        }
    }
}
