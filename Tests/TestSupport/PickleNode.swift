/// Something to pickle, as Python would or as nobody does.
public indirect enum PickleNode: Sendable {
    case none
    case bool(Bool)
    case integer(Int)
    case real(UInt64)
    case text(String)
    case tuple([PickleNode])
    case list([PickleNode])
    case dictionary([(PickleNode, PickleNode)])
    case global(String, String)
    /// A function's name, and its arguments.
    case call(String, String, [PickleNode])
    /// An object and its attributes.
    case build(PickleNode, PickleNode)
    case persistent(PickleNode)
    /// Opcodes as they are.
    case raw([UInt8])

    /// The pickle, in protocol 2 or 4. Everything is memoized, nothing recalled, as far as `memoize` says.
    public func pickled(protocolVersion: UInt8 = 2, memoize: Bool = true) -> [UInt8] {
        var writer = Writer(isModern: protocolVersion >= 4, memoizes: memoize)
        writer.write(self)
        let body = writer.bytes + [UInt8(ascii: ".")]
        let frame: [UInt8] = protocolVersion >= 4 ? [0x95] + littleEndian(UInt64(body.count)) : []
        return [0x80, protocolVersion] + frame + body
    }

    /// `collections.OrderedDict()` with these items, and with attributes as `state_dict()` leaves them.
    public static func orderedDictionary(_ items: [(PickleNode, PickleNode)]) -> PickleNode {
        .build(
            .raw(
                PickleNode.call("collections", "OrderedDict", []).body() + [UInt8(ascii: "(")]
                    + items.flatMap { $0.0.body() + $0.1.body() } + [UInt8(ascii: "u")]),
            .dictionary([(.text("_metadata"), .call("collections", "OrderedDict", []))]))
    }

    /// The opcodes alone, in protocol 2.
    private func body() -> [UInt8] {
        var writer = Writer(isModern: false, memoizes: false)
        writer.write(self)
        return writer.bytes
    }
}

private struct Writer {
    let isModern: Bool
    let memoizes: Bool
    var bytes: [UInt8] = []
    private var memoCount = 0

    init(isModern: Bool, memoizes: Bool) {
        self.isModern = isModern
        self.memoizes = memoizes
    }

    private mutating func opcode(_ character: Unicode.Scalar) { bytes.append(UInt8(ascii: character)) }

    private mutating func memoize() {
        guard memoizes else { return }
        if isModern {
            bytes.append(0x94)
        } else if memoCount < 256 {
            bytes += [UInt8(ascii: "q"), UInt8(memoCount)]
        } else {
            bytes += [UInt8(ascii: "r")] + littleEndian(UInt32(memoCount))
        }
        memoCount += 1
    }

    mutating func write(_ node: PickleNode) {
        switch node {
        case .none: opcode("N")
        case .bool(let value): bytes.append(value ? 0x88 : 0x89)
        case .integer(let value): write(integer: value)
        case .real(let bits): bytes += [UInt8(ascii: "G")] + littleEndian(bits).reversed()
        case .text(let text): write(text: text)
        case .tuple(let elements): write(tuple: elements)
        case .list(let elements):
            opcode("]")
            memoize()
            opcode("(")
            for element in elements { write(element) }
            opcode("e")
        case .dictionary(let items):
            opcode("}")
            memoize()
            opcode("(")
            for (key, value) in items {
                write(key)
                write(value)
            }
            opcode("u")
        case .global(let module, let name): write(global: module, name)
        case .call(let module, let name, let arguments):
            write(global: module, name)
            write(tuple: arguments)
            opcode("R")
            memoize()
        case .build(let object, let state):
            write(object)
            write(state)
            opcode("b")
        case .persistent(let id):
            write(id)
            opcode("Q")
        case .raw(let opcodes): bytes += opcodes
        }
    }

    private mutating func write(integer value: Int) {
        switch value {
        case 0...0xFF: bytes += [UInt8(ascii: "K"), UInt8(value)]
        case 0...0xFFFF: bytes += [UInt8(ascii: "M")] + littleEndian(UInt16(value))
        case Int(Int32.min)...Int(Int32.max): bytes += [UInt8(ascii: "J")] + littleEndian(Int32(value))
        default: bytes += [0x8A, 8] + littleEndian(value)
        }
    }

    private mutating func write(text: String) {
        let content = Array(text.utf8)
        if isModern, content.count < 256 {
            bytes += [0x8C, UInt8(content.count)] + content
        } else {
            bytes += [UInt8(ascii: "X")] + littleEndian(UInt32(content.count)) + content
        }
        memoize()
    }

    private mutating func write(tuple elements: [PickleNode]) {
        guard !elements.isEmpty else { return opcode(")") }
        if elements.count > 3 { opcode("(") }
        for element in elements { write(element) }
        bytes.append(elements.count > 3 ? UInt8(ascii: "t") : UInt8(0x84 + elements.count))
        memoize()
    }

    private mutating func write(global module: String, _ name: String) {
        if isModern {
            write(text: module)
            write(text: name)
            bytes.append(0x93)
        } else {
            bytes += [UInt8(ascii: "c")] + Array("\(module)\n\(name)\n".utf8)
        }
        memoize()
    }
}
