import LayerStore
import TensorCore
import Testing

@Suite struct ChunkGeometryTests {
    private static let shapes: [[Int]] = [
        [], [0], [1], [7], [4097], [1, 1], [64, 64], [65, 63], [100, 1100], [63, 4095], [1000, 3], [0, 5], [5, 0],
        [2, 3, 5], [128, 8192], [70_000, 2],
    ]

    /// Chunks tile every tensor exactly once, slot by slot, and chunk 0 is the largest.
    @Test(arguments: shapes, [1024, 4096, 1 << 20])
    func chunksTileTheTensor(_ dimensions: [Int], _ target: Int) {
        for layout in TensorLayout.allCases {
            for dtype in [DType.bfloat16, .float16, .float32] {
                let shape = Shape(dimensions)
                // What has no columns is not quantized.
                guard layout != .panel16 || shape.elementCount > 0 else { continue }
                let scheme = layout == .panel16 ? BlockInt8() : nil
                let geometry = ChunkGeometry(
                    shape: shape, dtype: dtype, layout: layout, scheme: scheme, targetBytes: target)
                var covered = 0
                for index in 0..<geometry.chunkCount {
                    let extent = geometry.chunk(index)
                    #expect(extent.elementCount <= geometry.slotElements)
                    #expect(extent.firstColumn % ChunkGeometry.columnStep == 0)
                    let rows =
                        (extent.firstUnit..<(extent.firstUnit + extent.unitCount)).reduce(0) { count, unit in
                            count + min(geometry.unitRows, geometry.rows - unit * geometry.unitRows)
                        }
                    let columns = min(extent.columnCount, geometry.columns - extent.firstColumn)
                    covered += rows * columns
                }
                #expect(covered == shape.elementCount, "\(shape) \(layout) \(dtype)")
                let group = ChunkGeometry.panelsPerGroup * geometry.panelBytes
                #expect(geometry.slotBytes <= max(4 * target, 64 * ChunkGeometry.columnStep * dtype.size, group))
                let again = ChunkGeometry(
                    shape: shape, dtype: dtype, layout: layout, scheme: scheme, unitsPerChunk: geometry.unitsPerChunk,
                    columnsPerChunk: geometry.columnsPerChunk, maximumChunkBytes: ShardHeader.maximumChunkBytes)
                #expect(again == geometry)
            }
        }
    }

    @Test func sourceBlocksFollowOneAnother() {
        let geometry = ChunkGeometry(shape: Shape([130, 1100]), dtype: .bfloat16, layout: .panel64, targetBytes: 4096)
        #expect(geometry.columnRanges == 3)
        var end: UInt64 = 0
        for first in stride(from: 0, to: geometry.chunkCount, by: geometry.chunksPerSourceBlock) {
            let bytes = geometry.sourceBytes(ofBlockFrom: first)
            #expect(bytes.lowerBound == end)
            end = bytes.upperBound
        }
        #expect(end == 130 * 1100 * 2)
    }

    @Test func statedGeometryIsChecked() {
        func stated(_ units: Int, _ columns: Int) -> ChunkGeometry? {
            ChunkGeometry(
                shape: Shape([128, 1100]), dtype: .bfloat16, layout: .panel64, unitsPerChunk: units,
                columnsPerChunk: columns, maximumChunkBytes: 1 << 20)
        }
        #expect(stated(2, 1100) != nil)
        #expect(stated(1, 512) != nil)
        for (units, columns) in [(0, 1100), (3, 1100), (2, 512), (1, 100), (1, 1101), (1, 0), (1 << 60, 1100)] {
            #expect(stated(units, columns) == nil, "\(units) \(columns)")
        }
    }
}
