import Inference
import StoreWriter
import TensorCore

/// The values of every position and matrix as an HDF5 file: docs/perplexity.md describes it.
struct CompareArrays {
    private let report: CompareReport

    init(_ report: CompareReport) { self.report = report }

    /// Writes an empty file. Throws `.io`, and `.unexpected` if libhdf5 refuses.
    func write(to file: OpenFile) throws(LaminaError) {
        let hdf5 = try HDF5File(file: file, userBlockSize: 4096)
        let windows = report.windows
        try hdf5.setAttributes(
            [
                .init("text", .text(report.text.name)), .init("text_sha256", .text("\(report.text.digest)")),
                .init("context", .integer(Int64(windows.context))),
                .init("windows", .integer(Int64(windows.sequences.count))),
                .init("positions_per_window", .integer(Int64(windows.countedPerWindow))),
            ], of: .root)
        let following = windows.sequences.flatMap { window in window.wanted.map { Int32(window.tokens[$0 + 1]) } }
        try add("following_token", following, to: .root, of: .int32, in: hdf5)
        let names = report.matrices.map(\.name).joined(separator: "\n")
        try add("matrix_names", Array(names.utf8), to: .root, of: .byte, in: hdf5)
        for index in report.names.indices {
            let group = try hdf5.makeGroup(
                "store\(index)",
                attributes: [
                    .init("store", .text(report.names[index])),
                    .init("compute", .text(report.computes[index]?.rawValue ?? "")),
                ])
            try add(index, to: group, in: hdf5)
        }
        _ = try hdf5.finish()
    }

    private func add(_ index: Int, to group: HDF5File.Group, in hdf5: HDF5File) throws(LaminaError) {
        let result = report.results[index]
        try add("log_probability", result.scores.map(\.logProbability), to: group, of: .float64, in: hdf5)
        try add("top_token", result.scores.map { Int32($0.topToken) }, to: group, of: .int32, in: hdf5)
        guard index > 0 else { return }
        try add("kl_divergence", result.scores.map(\.divergence), to: group, of: .float64, in: hdf5)
        try add("layer_error", result.layerErrors, to: group, of: .float64, in: hdf5)
        let errors = report.matrices.map { $0.errors[index - 1] }
        try add("matrix_weight_error", errors.map { $0?.weight ?? .nan }, to: group, of: .float64, in: hdf5)
        try add("matrix_output_error", errors.map { $0?.output ?? .nan }, to: group, of: .float64, in: hdf5)
    }

    /// One dataset in one chunk; its elements are the machine's, which are little-endian everywhere Lamina runs.
    private func add<Element: BitwiseCopyable>(
        _ name: String, _ values: [Element], to group: HDF5File.Group, of element: HDF5File.Element, in hdf5: HDF5File
    ) throws(LaminaError) {
        let bytes = values.count * MemoryLayout<Element>.stride
        let dataset = try hdf5.makeDataset(
            name, in: group, of: element, bytes: bytes, chunkBytes: max(bytes, MemoryLayout<Element>.stride),
            filter: .none)
        guard bytes > 0 else { return }
        let result = values.withUnsafeBytes { buffer in
            Result { () throws(LaminaError) in _ = try hdf5.writeChunk(0, of: dataset, buffer) }
        }
        try result.get()
    }
}
