import CKernels
import CSystem
import LayerStore
import TensorCore

/// Attends with groups of query heads that share a key-value head.
struct AttentionRunner: @unchecked Sendable {
    // Sendable: every column and head is written by one worker.
    let kernels: KernelTable
    let activations: Activations
    let cache: KeyValueCache

    /// One group of heads of one column, which holds position `position` of sequence `sequence`.
    func attend(
        _ layer: PlannedAttention, _ heads: AttentionHeads, column: Int, sequence: Int, position: Int, _ worker: Worker
    ) {
        let started = lamina_monotonic_seconds()
        let (query, shape) = (layer.query, cache.shapes[layer.layer])
        let ring = cache.ring(sequence: sequence, layer: layer.layer, head: heads.keyValueHead)
        var task = lamina_attention_task()
        task.type = cache.type.kernelType
        task.query = UnsafePointer(activations.column(query.buffer, column) + query.starts[heads.first])
        task.query_stride = heads.count > 1 ? query.starts[heads.first + 1] - query.starts[heads.first] : 0
        task.queries = heads.count
        task.keys = UnsafeRawPointer(ring.keys)
        task.values = ring.values.map { UnsafeRawPointer($0) }
        task.ring_blocks = ring.blocks
        task.head_dim = shape.keyDimension
        task.value_dim = shape.valueDimension
        task.first = layer.form.window.map { max(0, position + 1 - $0) } ?? 0
        task.count = position + 1
        task.scale = layer.form.scale
        task.softcap = layer.form.softcap ?? 0
        task.query_position = position
        task.scores = worker.scores.start
        task.score_stride = worker.scoreStride
        task.output = activations.column(layer.output, column) + heads.first * shape.valueDimension
        task.output_stride = shape.valueDimension
        if let slopes = layer.form.slopes {
            slopes.withUnsafeBufferPointer {
                task.slopes = $0.baseAddress.map { $0 + heads.first }
                kernels.pointee.attend(&task)
            }
        } else {
            kernels.pointee.attend(&task)
        }
        worker.seconds.compute += lamina_monotonic_seconds() - started
    }
}
