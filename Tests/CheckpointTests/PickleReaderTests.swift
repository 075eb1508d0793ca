import TensorCore
import TestSupport
import Testing

@testable import Checkpoint

/// Pickles as data: what state dicts need is read, everything else refused by name, and no input can do harm (case 22).
@Suite struct PickleReaderTests {
    private func read(_ bytes: [UInt8]) -> Result<(PickleValue, PickleReader), LaminaError> {
        Result { () throws(LaminaError) in
            var reader = PickleReader(ByteWindow(bytes, path: "m.bin"))
            return (try reader.next(), reader)
        }
    }

    private func error(_ bytes: [UInt8]) -> LaminaError? {
        if case .failure(let error) = read(bytes) { return error }
        return nil
    }

    private func pickle(_ opcodes: String) -> [UInt8] { [0x80, 2] + Array(opcodes.utf8) }

    private static let tensor = TorchCheckpoint.Tensor("w", "Half", key: "7", count: 6, offset: 1, shape: [2, 2])

    @Test(arguments: [2, 3, 4, 5] as [UInt8], [true, false])
    func readsAStateDict(_ version: UInt8, _ memoize: Bool) throws {
        let node = PickleNode.orderedDictionary([(.text("w"), Self.tensor.node())])
        let plain = PickleNode.dictionary([(.text("w"), Self.tensor.node())])
        for bytes in [node, plain].map({ $0.pickled(protocolVersion: version, memoize: memoize) }) {
            let (value, reader) = try read(bytes).get()
            guard case .dictionary(let index) = value else {
                Issue.record("a \(value.kind)")
                continue
            }
            let items = reader.heap.dictionaries[Int(index)]
            #expect(items.count == 1)
            guard case .tensor(let tensor) = items[0].value else {
                Issue.record("a \(items[0].value.kind)")
                continue
            }
            let found = reader.heap.tensors[Int(tensor)]
            #expect(found.dtype == .float16)
            #expect(found.offset == 1)
            #expect(reader.heap.integers(found.shape) == [2, 2])
            #expect(reader.heap.integers(found.stride) == [2, 1])
            let storage = reader.heap.storages[Int(found.storage)]
            #expect(try reader.text(storage.key) == "7")
            #expect(storage.count == 6)
            #expect(reader.position == bytes.count)
        }
    }

    @Test func readsScalars() throws {
        let values: [(PickleNode, PickleValue)] = [
            (.integer(255), .integer(255)), (.integer(65_535), .integer(65_535)), (.integer(-2), .integer(-2)),
            (.integer(1 << 40), .integer(1 << 40)), (.integer(.min), .integer(.min)), (.none, .none),
            (.bool(true), .bool(true)), (.real(0), .real), (.raw([0x8A, 0]), .integer(0)),
            (.raw([0x8A, 1, 0xFF]), .integer(-1)),
        ]
        for (node, expected) in values { #expect(try read(node.pickled()).get().0 == expected) }
        let nine = try read(PickleNode.raw([0x8A, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9]).pickled()).get().0
        #expect(nine == .longInteger(PickleSlice(start: 4, count: 9)))
    }

    @Test func recallsAndAppends() throws {
        // [x, x, [x]] by memo, APPEND and APPENDS; {1: 2, 3: 4} by SETITEM and SETITEMS.
        let (list, reader) = try read(pickle("]q\u{0}(K\u{1}q\u{1}h\u{1}e]h\u{1}aa.")).get()
        guard case .list(let index) = list else { throw LaminaError(.unexpected, "", "no list") }
        #expect(reader.heap.lists[Int(index)] == [.integer(1), .integer(1), .list(1)])
        #expect(reader.heap.lists[1] == [.integer(1)])
        let (_, other) = try read(pickle("}K\u{1}K\u{2}s(K\u{3}K\u{4}u.")).get()
        #expect(other.heap.dictionaries[0].map(\.value) == [.integer(2), .integer(4)])
    }

    /// The classics, in the ways in which a pickle can name them.
    @Test(arguments: [
        ("os", "system"), ("posix", "system"), ("nt", "system"), ("builtins", "eval"), ("builtins", "exec"),
        ("__builtin__", "eval"), ("builtins", "__import__"), ("subprocess", "Popen"), ("runpy", "_run_code"),
        ("torch", "load"), ("torch.storage", "_load_from_bytes"), ("numpy.core.multiarray", "_reconstruct"),
        ("collections", "OrderedDict.fromkeys"), ("torch._utils", "_rebuild_qtensor"), ("torch", "ComplexFloatStorage"),
        ("torch", "float8_e8m0fnu"), ("os\u{1b}[2J", "system"),
    ])
    func refusesOtherGlobals(_ module: String, _ name: String) throws {
        let call = PickleNode.call(module, name, [.text("touch /nowhere/owned")])
        for version in [2, 4] as [UInt8] {
            for node in [call, .dictionary([(.text("w"), call)]), .tuple([.none, .global(module, name)])] {
                let bytes = node.pickled(protocolVersion: version)
                let found = try #require(error(bytes))
                #expect(found.kind == .malformed)
                #expect(found.problem.contains(escapedForDisplay("\(module).\(name)")), "\(found)")
                #expect(found.hint == PickleReader.distrust)
                let offset = Int(try #require(found.bytes).lowerBound)
                #expect(bytes[offset] == (version == 2 ? UInt8(ascii: "c") : 0x93))
            }
        }
    }

    /// Every byte that is no opcode of state dicts is refused where it stands, by name.
    @Test func refusesOtherOpcodes() throws {
        let known = (0...255).filter { PickleOpcode(rawValue: UInt8($0)) != nil }
        #expect(known.count == 35)
        for code in 0...255 where PickleOpcode(rawValue: UInt8(code)) == nil {
            let found = try #require(error([0x80, 2, UInt8(ascii: "N"), UInt8(code), 0, 0]))
            #expect(found.bytes == 3..<4)
            #expect(found.found == PickleOpcode.nameOfRefused(UInt8(code)))
        }
        #expect(error(pickle("(ios\nsystem\n."))?.found == "INST")
        #expect(error(pickle("(S'touch'\nios\nsystem\n."))?.found == "STRING")
        #expect(error(pickle("ccollections\nOrderedDict\n)\u{81}."))?.kind == .malformed)
        #expect(PickleOpcode.nameOfRefused(0x81) == "NEWOBJ")
        #expect(PickleOpcode.nameOfRefused(0xFF) == "0xff")
    }

    @Test(arguments: [0, 1, 6, 255] as [UInt8]) func refusesOtherProtocols(_ version: UInt8) {
        #expect(error([0x80, version, UInt8(ascii: "N"), UInt8(ascii: ".")])?.found == "protocol \(version)")
        #expect(error(Array("(dp0\n.".utf8))?.problem.contains("not a pickle") == true)
        #expect(error(pickle("\u{0}"))?.kind == .malformed)
        #expect(error([0x80, 2, 0x80, 2, UInt8(ascii: "N"), UInt8(ascii: ".")])?.problem.contains("twice") == true)
    }

    @Test(arguments: [
        ".", "NN.", "(.", "t.", "a.", "]a.", "NNa.", "(Na.", "]N(a.", "}Ns.", "N(NNu.", "}(Nu.", "h\u{0}.", "q\u{0}.",
        "Nq\u{1}.", "(q\u{0}.", "R.", "N)R.", "NNR.", "Q.", "NQ.", ")Q.", "b.", "Nb.", "NNb.", "u.", "e.", "\u{93}.",
        "ctorch\nHalfStorage\n)R.", "ctorch\nSize\n)R.", "ccollections\nOrderedDict\nN\u{85}R.",
        "ctorch._utils\n_rebuild_tensor_v2\n)R.", "ctorch._utils\n_rebuild_parameter\n(NNNtR.",
        "ctorch._utils\n_rebuild_tensor\n(NNNNtR.",
    ])
    func refusesMalformedPrograms(_ opcodes: String) {
        let bytes = [0x80, 2] + opcodes.unicodeScalars.map { UInt8($0.value) }
        #expect(error(bytes)?.kind == .malformed)
    }

    @Test func refusesStoragesAndTensorsThatAreNone() throws {
        func storage(_ change: (inout [PickleNode]) -> Void) -> LaminaError? {
            var id: [PickleNode] = [
                .text("storage"), .global("torch", "HalfStorage"), .text("0"), .text("cpu"), .integer(4),
            ]
            change(&id)
            return error(PickleNode.persistent(.tuple(id)).pickled())
        }
        #expect(storage { _ in } == nil)
        #expect(storage { $0[0] = .text("module") }?.problem.contains("does not name a storage") == true)
        #expect(storage { $0[2] = .text(String(repeating: "0", count: 257)) } != nil)
        #expect(storage { $0[1] = .global("torch", "Size") } != nil)
        #expect(storage { $0[2] = .integer(0) } != nil)
        #expect(storage { $0[4] = .integer(-1) } != nil)
        #expect(storage { $0[4] = .integer(1 << 62) }?.problem.contains("too large") == true)
        #expect(storage { $0.removeLast() } != nil)
        #expect(storage { $0.append(.none) } == nil)
        #expect(storage { $0.append(.tuple([.text("1"), .integer(2), .integer(2)])) } == nil)
        #expect(storage { $0.append(.tuple([.text("1"), .integer(2), .integer(3)])) } != nil)
        #expect(storage { $0.append(.tuple([.text("1"), .integer(-1), .integer(3)])) } != nil)
        #expect(storage { $0.append(.tuple([.text("1"), .integer(.max), .integer(.max)])) } != nil)
        #expect(storage { $0.append(.integer(1)) } != nil)

        func tensor(_ function: String = "_rebuild_tensor_v2", _ change: (inout [PickleNode]) -> Void) -> LaminaError? {
            var arguments: [PickleNode] = [
                Self.tensor.storage(), .integer(0), .tuple([.integer(2)]), .tuple([.integer(1)]), .bool(false), .none,
            ]
            change(&arguments)
            return error(PickleNode.call("torch._utils", function, arguments).pickled())
        }
        #expect(tensor { _ in } == nil)
        #expect(tensor { $0[0] = .none } != nil)
        #expect(tensor { $0[1] = .integer(-1) } != nil)
        #expect(tensor { $0[2] = .tuple([.text("2")]) } != nil)
        #expect(tensor { $0[3] = .tuple([]) } != nil)
        #expect(tensor { $0.append(.none) } == nil)
        #expect(tensor { $0.append(.dictionary([])) } == nil)
        #expect(tensor { $0.append(.dictionary([(.text("neg"), .bool(true))])) }?.problem.contains("negated") == true)
        #expect(tensor { $0 += [.none, .none] } != nil)
        #expect(tensor("_rebuild_tensor_v3") { $0.append(.global("torch", "float8_e4m3fn")) } == nil)
        #expect(tensor("_rebuild_tensor_v3") { $0.append(.text("float8_e4m3fn")) }?.problem.contains("dtype") == true)
    }
}

/// Pickles that are larger, deeper or longer than any state dict's.
@Suite struct PickleLimitTests {
    private func error(_ opcodes: [UInt8]) -> LaminaError? {
        do throws(LaminaError) {
            var reader = PickleReader(ByteWindow([0x80, 2] + opcodes, path: "m.bin"))
            _ = try reader.next()
            return nil
        } catch {
            return error
        }
    }

    private func repeated(_ opcodes: [UInt8], _ count: Int) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(opcodes.count * count)
        for _ in 0..<count { result += opcodes }
        return result
    }

    @Test func boundsEverythingThatGrows() {
        let none = UInt8(ascii: "N")
        #expect(error(repeated([UInt8(ascii: "(")], 100_000))?.problem.contains("depth") == true)
        #expect(error(repeated([none], 300_000))?.problem.contains("stack") == true)
        let appendList = [UInt8(ascii: "]"), UInt8(ascii: "a")]
        #expect(
            error([UInt8(ascii: "]")] + repeated(appendList, 1_100_000))?.problem.contains("objects") == true)
        #expect(error([UInt8(ascii: "X")] + littleEndian(UInt32.max))?.problem.contains("bytes of a text") == true)
        #expect(error([UInt8(ascii: "c")] + repeated([UInt8(ascii: "a")], 300))?.problem.contains("name") == true)
        #expect(error([UInt8(ascii: "r")] + littleEndian(UInt32.max))?.kind == .malformed)
        #expect(error([none, UInt8(ascii: "r")] + littleEndian(UInt32(1)))?.problem.contains("hole") == true)
        #expect(error([UInt8(ascii: "j")] + littleEndian(UInt32.max))?.kind == .malformed)
        #expect(error([0x95] + littleEndian(UInt64.max))?.problem.contains("frame") == true)
        #expect(error([0x8A, 255])?.problem.contains("ends in the middle") == true)
    }

    /// A tuple of two of itself, 30 times over, is a billion elements to whoever walks it; here it is 60.
    @Test func tuplesOfTuplesStaySmall() {
        let twice: [UInt8] = [UInt8(ascii: "q"), 0, UInt8(ascii: "h"), 0, 0x86]
        #expect(error([UInt8(ascii: ")")] + repeated(twice, 1000) + [UInt8(ascii: ".")]) == nil)
        // Half a million levels deep: releasing it recurses nowhere.
        #expect(error([UInt8(ascii: ")")] + repeated([0x85], 500_000) + [UInt8(ascii: ".")]) == nil)
        // A list that holds itself.
        #expect(error([UInt8(ascii: "]"), UInt8(ascii: "q"), 0, UInt8(ascii: "h"), 0, UInt8(ascii: "a"), 0x2E]) == nil)
        // Elements are bounded however often the same value is pushed.
        let block = [UInt8(ascii: "(")] + repeated([UInt8(ascii: "N")], 200_000) + [UInt8(ascii: "t")]
        #expect(error(repeated(block, 30))?.problem.contains("elements") == true)
    }

    /// The memo gives a value of any size for two bytes: work for it must not grow with the value, or five megabytes of
    /// pickle would take hours.
    @Test func recalledValuesCostNothing() throws {
        let text = [UInt8(ascii: "X")] + littleEndian(UInt32(1 << 20)) + repeated([0x61], 1 << 20)
        let tuple = [UInt8(ascii: "(")] + repeated([UInt8(ascii: "K"), 1], 200_000) + [UInt8(ascii: "t")]
        let put: [UInt8] = [UInt8(ascii: "q"), 0]
        let get: [UInt8] = [UInt8(ascii: "h"), 0]
        func global(_ name: String) -> [UInt8] { Array("c\(name)\n".utf8) }
        // As a function's arguments, a persistent id, a shape, a storage's key and kind.
        for (value, use) in [
            (tuple, global("collections\nOrderedDict") + get + [UInt8(ascii: "R")]), (tuple, get + [UInt8(ascii: "Q")]),
            (text, [UInt8(ascii: "(")] + get + global("torch\nHalfStorage") + get + get + Array("K\u{1}tQ".utf8)),
            (
                text,
                Array("(X\u{7}\u{0}\u{0}\u{0}storage".utf8) + global("torch\nHalfStorage") + get + get
                    + Array("K\u{1}tQ".utf8)
            ),
        ] {
            #expect(error(value + put + repeated(use, 100_000))?.kind == .malformed)
        }
        let tensor = TorchCheckpoint.Tensor("w", "Half", key: "7", count: 6, shape: [2])
        let storage = Array(tensor.storage().pickled(memoize: false).dropFirst(2).dropLast())
        let shaped = global("torch._utils\n_rebuild_tensor") + Array("(".utf8) + storage + Array("K\u{0}".utf8)
        #expect(error(tuple + put + repeated(shaped + get + get + Array("tR".utf8), 100))?.kind == .malformed)
    }

    /// Every cut, and a hundred thousand seeded mutations: a value or an error, never a trap.
    @Test func mutationsNeverTrap() {
        let tensor = TorchCheckpoint.Tensor("w", "Half", key: "7", count: 6, offset: 1, shape: [2, 2])
        let node = PickleNode.orderedDictionary([(.text("w"), tensor.node()), (.text("n"), .integer(-5))])
        for version in [2, 4] as [UInt8] {
            let original = Array(node.pickled(protocolVersion: version).dropFirst(2))
            for count in 0..<original.count { #expect(error(Array(original.prefix(count))) != nil) }
            var generator = SeededGenerator(seed: UInt64(version))
            for _ in 0..<50_000 {
                var bytes = original
                for _ in 0..<Int.random(in: 1...3, using: &generator) {
                    let index = Int.random(in: 0..<bytes.count, using: &generator)
                    switch Int.random(in: 0..<3, using: &generator) {
                    case 0: bytes[index] = UInt8.random(in: 0...255, using: &generator)
                    case 1: bytes.remove(at: index)
                    default: bytes.insert(bytes[Int.random(in: 0..<bytes.count, using: &generator)], at: index)
                    }
                }
                if let error = error(bytes) { #expect(error.kind == .malformed) }
            }
        }
    }
}
