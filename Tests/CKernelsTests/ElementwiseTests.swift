import CKernels
import Foundation
import Testing

@Suite struct ElementwiseTests {
    private static let counts = [1, 2, 15, 16, 17, 31, 32, 33, 64, 100, 577, 4096]

    @Test(arguments: KernelTable.available, counts)
    func add(table: KernelTable, count: Int) {
        var generator = SeededGenerator(seed: UInt64(count))
        let (x, y) = (generator.values(count), generator.values(count))
        var found = y
        table.kernels.add(x, &found, count)
        #expect(bits(found) == bits(zip(x, y).map { $1 + $0 }))
    }

    @Test(arguments: KernelTable.available, counts)
    func addScaled(table: KernelTable, count: Int) {
        var generator = SeededGenerator(seed: UInt64(count))
        let (x, y) = (generator.values(count), generator.values(count))
        var found = y
        table.kernels.add_scaled(-1.3, x, &found, count)
        #expect(bits(found) == bits(zip(x, y).map { $1.addingProduct(-1.3, $0) }))
    }

    @Test(arguments: KernelTable.available, counts)
    func scale(table: KernelTable, count: Int) {
        var generator = SeededGenerator(seed: UInt64(count))
        let x = generator.values(count)
        var found = x + [7]
        table.kernels.scale(&found, 0.3, count)
        #expect(bits(found) == bits(x.map { $0 * 0.3 } + [7]))
    }

    @Test(arguments: KernelTable.available, counts)
    func softcap(table: KernelTable, count: Int) {
        var generator = SeededGenerator(seed: UInt64(count))
        let x = generator.values(count).map { $0 * 200 } + [.infinity, -.infinity, -0.0, 1e30]
        var found = x
        var expected = x
        table.kernels.softcap(&found, 30, x.count)
        KernelTable.reference.softcap(&expected, 30, x.count)
        #expect(bits(found) == bits(expected))
        for (value, x) in zip(found, x) {
            let exact = 30 * tanh(Double(x) / 30)
            #expect(abs(Double(value) - exact) <= 4e-7 * abs(exact))
        }
        #expect(found[count] == 30 && found[count + 1] == -30)
    }

    @Test(arguments: KernelTable.available, [2, 6, 32, 64, 80, 128, 130])
    func ropeHalf(table: KernelTable, rotary: Int) {
        var generator = SeededGenerator(seed: UInt64(rotary))
        let angles = generator.values(rotary / 2).map { Double($0) * 3 }
        let cosine = angles.map { Float(cos($0)) }
        let sine = angles.map { Float(sin($0)) }
        let head = generator.values(rotary + 8)
        var found = head
        var expected = head
        table.kernels.rope_half(&found, cosine, sine, rotary)
        KernelTable.reference.rope_half(&expected, cosine, sine, rotary)
        #expect(bits(found) == bits(expected))
        #expect(bits(found[rotary...]) == bits(head[rotary...]))
        for index in 0..<rotary / 2 {
            let before = hypot(Double(head[index]), Double(head[index + rotary / 2]))
            let after = hypot(Double(found[index]), Double(found[index + rotary / 2]))
            #expect(abs(before - after) <= 1e-6)
        }
    }

    @Test(arguments: KernelTable.available, [2, 6, 30, 32, 34, 64, 128, 130])
    func ropePairs(table: KernelTable, rotary: Int) {
        var generator = SeededGenerator(seed: UInt64(rotary))
        let angles = generator.values(rotary / 2).map { Double($0) * 3 }
        let cosine = angles.map { Float(cos($0)) }
        let sine = angles.map { Float(sin($0)) }
        let head = generator.values(rotary + 8)
        var found = head
        var expected = head
        table.kernels.rope_pairs(&found, cosine, sine, rotary)
        KernelTable.reference.rope_pairs(&expected, cosine, sine, rotary)
        #expect(bits(found) == bits(expected))
        #expect(bits(found[rotary...]) == bits(head[rotary...]))
        // The same rotation as of halves, of the same pairs in another order.
        let order = (0..<rotary / 2).map { 2 * $0 } + (0..<rotary / 2).map { 2 * $0 + 1 }
        var halves = order.map { head[$0] }
        table.kernels.rope_half(&halves, cosine, sine, rotary)
        #expect(bits(halves) == bits(order.map { found[$0] }))
    }
}
