import CKernels
import LayerStore
import TensorCore

/// Panels of 8-bit codes that are kept with as few bits as most of them need (`lamina_narrow_bound`): decoding reads less
/// of memory, and computes the same.
struct NarrowChunk {
    let start: UnsafeRawPointer
    /// Of each panel, from `start`.
    let offsets: UnsafePointer<Int>

    /// For more columns codes are made bytes first: they are used often enough.
    private static let mostColumns = 16

    /// Writes the panels of a decoded chunk to `target`, which has room for `room`, and their places to `offsets`. Returns
    /// the bytes they take.
    static func make(
        _ elements: UnsafeRawPointer, of geometry: ChunkGeometry, panels: Int, at target: UnsafeMutableRawPointer,
        offsets: UnsafeMutablePointer<Int>, _ kernels: KernelTable
    ) -> Int {
        var used = 0
        for panel in 0..<panels {
            offsets[panel] = used
            used += kernels.pointee.narrow_panel(
                elements + panel * geometry.panelBytes, geometry.columns, target + used)
        }
        return used
    }

    /// Most bytes so many panels take.
    static func room(_ geometry: ChunkGeometry, panels: Int) -> Int { panels * lamina_narrow_bound(geometry.columns) }

    func panel(_ index: Int) -> UnsafeRawPointer { start + offsets[index] }

    /// Panel `index` with its codes as bytes.
    func restore(
        _ index: Int, of geometry: ChunkGeometry, to target: UnsafeMutableRawPointer, _ kernels: KernelTable
    ) {
        kernels.pointee.restore_panel(panel(index), geometry.columns, target)
    }

    /// Multiplies codes with codes, as `QuantizedGroup` does. `restored` is room for the whole chunk as bytes.
    func multiply(
        group: Int, of extent: ChunkExtent, _ geometry: ChunkGeometry, _ codes: lamina_quantized_activations,
        _ task: lamina_panel_task, restored: UnsafeMutableRawPointer, _ kernels: KernelTable
    ) {
        guard task.columns > NarrowChunk.mostColumns else {
            return QuantizedGroup(self, group: group, of: extent, geometry).multiplyNarrow(codes, task, kernels)
        }
        let first = group * ChunkGeometry.panelsPerGroup
        for panel in first..<min(first + ChunkGeometry.panelsPerGroup, extent.unitCount) {
            restore(panel, of: geometry, to: restored + panel * geometry.panelBytes, kernels)
        }
        QuantizedGroup(restored, group: group, of: extent, geometry).multiply(
            LAMINA_SCHEME_ROW8, codes, task, kernels)
    }
}

extension PlannedMatrix {
    /// Whether its decoded chunks are kept narrow.
    var isKeptNarrow: Bool { form == LAMINA_SCHEME_ROW8 && takesCodes }
}
