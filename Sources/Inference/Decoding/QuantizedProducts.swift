import CKernels
import LayerStore
import TensorCore

extension lamina_scheme {
    /// Whether its weights can be multiplied as 8-bit codes: they are multiples of a scale.
    var takesCodes: Bool { self == LAMINA_SCHEME_ROW8 || self == LAMINA_SCHEME_Q8 || self == LAMINA_SCHEME_Q4 }
}

/// What products of quantized weights need apart from the weights.
struct QuantizedInput {
    /// The columns as codes.
    var codes: lamina_quantized_activations
    /// Room for a chain of 64 rows as f32.
    var widened: UnsafeMutablePointer<Float>
    /// Room for a decoded chunk.
    var restored: UnsafeMutableRawPointer
}

extension PlannedMatrix {
    /// Multiplies one group of a chunk whose weights are of `form`. `task` says where the products go.
    func multiply(
        _ form: lamina_scheme, _ elements: DecodedChunks.Elements, group: Int, of extent: ChunkExtent,
        _ input: QuantizedInput, _ task: lamina_panel_task, _ kernels: KernelTable
    ) {
        let geometry = tensor.geometry
        switch elements {
        case .narrow(let chunk):
            chunk.multiply(
                group: group, of: extent, geometry, input.codes, task, restored: input.restored, kernels)
        case .decoded(let start) where takesCodes:
            QuantizedGroup(start, group: group, of: extent, geometry).multiply(form, input.codes, task, kernels)
        case .decoded(let start):
            QuantizedGroup(start, group: group, of: extent, geometry).multiplyWidened(
                form, task, widened: input.widened, kernels)
        }
    }
}

/// Up to four panels of 16 rows: what is multiplied at once.
struct QuantizedGroup {
    private var panels: [4 of lamina_quantized_panel]
    private let count: Int
    private let geometry: ChunkGeometry

    /// Group `index` of a chunk that covers `extent`; `slot` is the decoded chunk.
    init(_ slot: UnsafeRawPointer, group index: Int, of extent: ChunkExtent, _ geometry: ChunkGeometry) {
        let first = index * ChunkGeometry.panelsPerGroup
        count = min(ChunkGeometry.panelsPerGroup, extent.unitCount - first)
        self.geometry = geometry
        panels = [4 of lamina_quantized_panel](
            repeating: lamina_quantized_panel(slot, unit: first, of: extent, geometry))
        for panel in 1..<max(1, count) where panel < count {
            panels[panel] = lamina_quantized_panel(slot, unit: first + panel, of: extent, geometry)
        }
    }

    /// Group `index` of a narrow chunk that covers `extent`.
    init(_ chunk: NarrowChunk, group index: Int, of extent: ChunkExtent, _ geometry: ChunkGeometry) {
        self.init(chunk.start, group: index, of: extent, geometry)
        for panel in 0..<count {
            panels[panel].bytes = chunk.panel(index * ChunkGeometry.panelsPerGroup + panel)
        }
    }

    /// Multiplies codes with codes. `task` says where the products go, and of how many columns.
    func multiply(
        _ form: lamina_scheme, _ codes: lamina_quantized_activations, _ task: lamina_panel_task, _ kernels: KernelTable
    ) {
        withProduct(codes, task) { product in
            switch form {
            case LAMINA_SCHEME_ROW8: kernels.pointee.multiply_quantized.0?(&product)
            case LAMINA_SCHEME_Q8: kernels.pointee.multiply_quantized.1?(&product)
            default: kernels.pointee.multiply_quantized.2?(&product)
            }
        }
    }

    /// The same for narrow panels.
    func multiplyNarrow(_ codes: lamina_quantized_activations, _ task: lamina_panel_task, _ kernels: KernelTable) {
        withProduct(codes, task) { kernels.pointee.multiply_narrow(&$0) }
    }

    private func withProduct(
        _ codes: lamina_quantized_activations, _ task: lamina_panel_task,
        _ multiply: (inout lamina_quantized_task) -> Void
    ) {
        withUnsafePointer(to: panels) { panels in
            var product = lamina_quantized_task()
            product.panels = UnsafeRawPointer(panels).assumingMemoryBound(to: lamina_quantized_panel.self)
            product.panel_count = count
            product.x = codes
            product.y = task.y
            product.y_stride = task.y_stride
            product.columns = task.columns
            multiply(&product)
        }
    }

    /// Multiplies f32 weights with one column of f32 activations, without room for the weights. False if that is not to be
    /// had, and nothing is done.
    private func multiplySingle(_ form: lamina_scheme, _ task: lamina_panel_task, _ kernels: KernelTable) -> Bool {
        guard let x = task.x, let y = task.y else { return false }
        return withUnsafePointer(to: panels) { panels in
            let panels = UnsafeRawPointer(panels).assumingMemoryBound(to: lamina_quantized_panel.self)
            return kernels.multiplyDequantized(form, panels, count: count, x, to: y)
        }
    }

    /// Multiplies f32 weights with f32 activations, a chain at a time, so that the weights stay in the cache. `widened` is
    /// room for a chain of 64 rows.
    func multiplyWidened(
        _ form: lamina_scheme, _ task: lamina_panel_task, widened: UnsafeMutablePointer<Float>, _ kernels: KernelTable
    ) {
        if task.columns == 1, multiplySingle(form, task, kernels) { return }
        let rows = geometry.unitRows
        let step = ChunkGeometry.columnStep
        var chain = task
        chain.weights = UnsafeRawPointer(widened)
        chain.width = count * rows
        for column in stride(from: 0, to: geometry.columns, by: step) {
            chain.k_begin = column
            chain.k_count = min(step, geometry.columns - column)
            for index in 0..<count {
                var panel = panels[index]
                kernels.pointee.dequantize(form, &panel, column, chain.k_count, widened + index * rows, chain.width)
            }
            kernels.pointee.multiply_panel.2?(&chain)
        }
    }
}
