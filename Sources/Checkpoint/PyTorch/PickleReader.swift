import TensorCore

/// Reads pickles as data. A pickle is a program for a stack machine that may name any function of Python and have it
/// called; this machine knows the opcodes and names of which state dicts consist (`PickleOpcode`, `PickleGlobal`),
/// notes what they describe, and refuses every other by its name and place. Nothing is ever executed.
///
/// Opcodes: Python's `Lib/pickletools.py`. Every loop is over bytes of the pickle, every allocation below a limit, and
/// values are plain numbers (`PickleValue`), so no input can recurse, hang or blow up. As the memo gives one large value
/// for two bytes any number of times, nothing here may look at all of a tuple or text that is not known to be short.
struct PickleReader {
    /// Real state dicts need 200 to 300 bytes, 9 objects and 20 elements per tensor.
    static let maximumBytes = 64 << 20
    static let maximumObjects = 1 << 20
    static let maximumElements = 1 << 22
    /// Python's pickler puts at most 2,000 values on the stack, others all of a dict.
    static let maximumStack = 1 << 18
    /// Tensors are 4 deep.
    static let maximumDepth = 64
    static let maximumTextBytes = 1 << 20
    /// Of globals, and of storages.
    static let maximumNameBytes = 256
    /// Tensors of a higher rank are refused by name later on.
    static let maximumShapeCount = 64
    /// The arguments of any function, the parts of a persistent id.
    static let maximumArguments = 8

    private(set) var window: ByteWindow
    /// Where the next opcode is, in the window.
    private(set) var position = 0
    /// The objects of all pickles read so far.
    private(set) var heap = PickleHeap()
    private var stack: [PickleValue] = []
    /// The stack's height at every open mark.
    private var marks: [Int] = []
    private var memo: [PickleValue] = []
    /// In lists and dicts.
    private var itemCount = 0
    private var opcodeStart = 0

    init(_ window: ByteWindow) {
        self.window = window
    }

    /// The value of the pickle that begins here, whose end is where the next begins. Throws `.malformed`, `.io`.
    mutating func next() throws(LaminaError) -> PickleValue {
        stack.removeAll()
        marks.removeAll()
        memo.removeAll()
        opcodeStart = position
        let first = try byte()
        let version = try byte()
        guard first == PickleOpcode.proto.rawValue, (2...5).contains(version) else {
            throw failure(
                "this is not a pickle that torch.save writes", expected: "pickle protocol 2 to 5",
                found: first == PickleOpcode.proto.rawValue ? "protocol \(version)" : nil)
        }
        while true {
            opcodeStart = position
            let code = try byte()
            guard let opcode = PickleOpcode(rawValue: code) else {
                throw failure(
                    "the pickle has an opcode that state dicts of tensors have no need of",
                    found: PickleOpcode.nameOfRefused(code), hint: PickleReader.distrust)
            }
            if opcode == .stop {
                guard stack.count == 1, marks.isEmpty else { throw failure("the pickle ends with a wrong stack") }
                return stack[0]
            }
            try execute(opcode)
        }
    }

    static let distrust =
        "nothing in the file was run; if you trust where it came from, load it with torch and save it as safetensors"

    private mutating func execute(_ opcode: PickleOpcode) throws(LaminaError) {
        switch opcode {
        case .none: try push(.none)
        case .newTrue: try push(.bool(true))
        case .newFalse: try push(.bool(false))
        case .binInt: try push(.integer(Int(Int32(bitPattern: try number(UInt32.self)))))
        case .binInt1: try push(.integer(Int(try byte())))
        case .binInt2: try push(.integer(Int(try number(UInt16.self))))
        case .long1: try push(try longInteger())
        case .binFloat:
            _ = try number(UInt64.self)
            try push(.real)
        case .binUnicode: try push(.text(try slice(Int(try number(UInt32.self)))))
        case .shortBinUnicode: try push(.text(try slice(Int(try byte()))))
        case .mark:
            guard marks.count < PickleReader.maximumDepth else { throw limit("depth", PickleReader.maximumDepth) }
            marks.append(stack.count)
        case .emptyTuple: try makeTuple(from: stack.count)
        case .tuple: try makeTuple(from: try popMark())
        case .tuple1: try makeTuple(from: try height(below: 1))
        case .tuple2: try makeTuple(from: try height(below: 2))
        case .tuple3: try makeTuple(from: try height(below: 3))
        case .emptyList: try makeList()
        case .append: try appendToList(from: try height(below: 1))
        case .appends: try appendToList(from: try popMark())
        case .emptyDict: try push(try makeDictionary())
        case .setItem: try addToDictionary(from: try height(below: 2))
        case .setItems: try addToDictionary(from: try popMark())
        case .binPut: try remember(at: Int(try byte()))
        case .longBinPut: try remember(at: Int(try number(UInt32.self)))
        case .memoize: try remember(at: memo.count)
        case .binGet: try recall(Int(try byte()))
        case .longBinGet: try recall(Int(try number(UInt32.self)))
        case .global, .stackGlobal, .reduce, .build, .binPersId: try makeObject(opcode)
        case .frame: try checkFrame()
        case .proto, .stop: throw failure("the pickle's protocol is stated twice")
        }
    }

    private mutating func makeObject(_ opcode: PickleOpcode) throws(LaminaError) {
        switch opcode {
        case .global: try pushGlobal(module: try line(), name: try line())
        case .stackGlobal:
            guard case .text(let name) = try pop(), case .text(let module) = try pop() else {
                throw failure("the pickle names a global by something other than text")
            }
            try pushGlobal(module: try text(module), name: try text(name))
        case .reduce:
            guard case .tuple(let arguments) = try pop(), case .global(let global) = try pop() else {
                throw failure("the pickle calls something that is no function")
            }
            try push(try object(global, arguments))
        case .build:
            // Attributes, such as the _metadata of a state dict: nothing of the tensors.
            _ = try pop()
            guard case .dictionary = stack[try height(below: 1)] else {
                throw failure("the pickle gives attributes to something", found: stack.last?.kind)
            }
        default:
            guard case .tuple(let id) = try pop() else { throw failure("a persistent id is no tuple") }
            try push(try storage(id))
        }
    }

    private mutating func pushGlobal(module: String, name: String) throws(LaminaError) {
        guard let global = PickleGlobal(module: module, name: name) else {
            throw failure(
                "the pickle refers to \(escapedForDisplay("\(module).\(name)", limit: 200)), "
                    + "which state dicts of tensors have no need of", hint: PickleReader.distrust)
        }
        try push(.global(global))
    }
}

// MARK: Bytes

extension PickleReader {
    /// An error about the opcode that is being read.
    func failure(
        _ problem: String, expected: String? = nil, found: String? = nil, hint: String? = nil
    ) -> LaminaError {
        LaminaError(
            .malformed, window.path, problem, expected: expected, found: found, hint: hint,
            bytes: (window.start + UInt64(opcodeStart))..<(window.start + UInt64(max(position, opcodeStart + 1))))
    }

    private func limit(_ what: String, _ limit: Int) -> LaminaError {
        failure("the pickle is above a limit: \(what)", expected: "at most \(limit)")
    }

    /// Text of the pickle. Throws `.malformed` if it is no UTF-8.
    func text(_ slice: PickleSlice) throws(LaminaError) -> String {
        guard let text = String(validating: window.bytes[slice.range], as: UTF8.self) else {
            throw failure("the pickle has text that is not valid UTF-8")
        }
        return text
    }

    /// Whether a text is `string`, which takes no longer than that is long.
    func isEqual(_ text: PickleSlice, _ string: StaticString) -> Bool {
        text.range.count == string.utf8CodeUnitCount
            && window.bytes[text.range].elementsEqual(
                UnsafeBufferPointer(start: string.utf8Start, count: string.utf8CodeUnitCount))
    }

    /// Makes sure of `count` bytes from `position` on.
    private mutating func load(_ count: Int) throws(LaminaError) {
        guard try window.load(position + count) else {
            throw failure(
                window.count == PickleReader.maximumBytes
                    ? "the pickle is longer than \(window.count) bytes" : "the pickle ends in the middle",
                hint: "the download may be incomplete; get the file again")
        }
    }

    private mutating func byte() throws(LaminaError) -> UInt8 {
        try load(1)
        position += 1
        return window.bytes[position - 1]
    }

    private mutating func number<Number: FixedWidthInteger & UnsignedInteger>(
        _ type: Number.Type
    ) throws(LaminaError) -> Number {
        let size = MemoryLayout<Number>.size
        try load(size)
        position += size
        return window.bytes.littleEndian(type, at: position - size)
    }

    private mutating func slice(_ count: Int) throws(LaminaError) -> PickleSlice {
        guard count <= PickleReader.maximumTextBytes else {
            throw limit("bytes of a text", PickleReader.maximumTextBytes)
        }
        try load(count)
        position += count
        return PickleSlice(start: position - count, count: count)
    }

    /// Text up to a line feed.
    private mutating func line() throws(LaminaError) -> String {
        let start = position
        while try byte() != 0x0A {
            guard position - start <= PickleReader.maximumNameBytes else {
                throw limit("bytes of a name", PickleReader.maximumNameBytes)
            }
        }
        return try text(PickleSlice(start: start, count: position - 1 - start))
    }

    /// LONG1: two's complement of any length.
    private mutating func longInteger() throws(LaminaError) -> PickleValue {
        let slice = try slice(Int(try byte()))
        let digits = window.bytes[slice.range]
        guard digits.count <= 8 else { return .longInteger(slice) }
        let isNegative = (digits.last ?? 0) >= 0x80
        return .integer(digits.reversed().reduce(isNegative ? -1 : 0) { $0 << 8 | Int($1) })
    }

    private mutating func checkFrame() throws(LaminaError) {
        let size = try number(UInt64.self)
        guard size <= UInt64(window.count - position) else {
            throw failure("a frame is longer than the pickle", found: "\(size) bytes")
        }
    }
}

// MARK: Stack, memo, containers

extension PickleReader {
    private mutating func push(_ value: PickleValue) throws(LaminaError) {
        guard stack.count < PickleReader.maximumStack else { throw limit("stack", PickleReader.maximumStack) }
        stack.append(value)
    }

    /// The stack's height without its last `count` values, which must lie above the last mark.
    private func height(below count: Int) throws(LaminaError) -> Int {
        guard stack.count - (marks.last ?? 0) >= count else { throw failure("the pickle's stack is empty") }
        return stack.count - count
    }

    private mutating func pop() throws(LaminaError) -> PickleValue {
        _ = try height(below: 1)
        return stack.removeLast()
    }

    private mutating func popMark() throws(LaminaError) -> Int {
        guard let height = marks.popLast() else { throw failure("the pickle's stack has no mark") }
        return height
    }

    private mutating func makeTuple(from height: Int) throws(LaminaError) {
        let count = stack.count - height
        try checkElements(adding: count)
        let slice = PickleSlice(start: heap.elements.count, count: count)
        heap.elements += stack[height...]
        stack.removeSubrange(height...)
        try push(.tuple(slice))
    }

    private mutating func makeList() throws(LaminaError) {
        try checkObjects(heap.lists.count)
        heap.lists.append([])
        try push(.list(Int32(heap.lists.count - 1)))
    }

    /// A new dict.
    mutating func makeDictionary() throws(LaminaError) -> PickleValue {
        try checkObjects(heap.dictionaries.count)
        heap.dictionaries.append([])
        return .dictionary(Int32(heap.dictionaries.count - 1))
    }

    private mutating func appendToList(from height: Int) throws(LaminaError) {
        try checkElements(adding: stack.count - height)
        guard height > 0, case .list(let list) = stack[height - 1] else {
            throw failure("the pickle appends to something that is no list")
        }
        itemCount += stack.count - height
        heap.lists[Int(list)] += stack[height...]
        stack.removeSubrange(height...)
    }

    private mutating func addToDictionary(from height: Int) throws(LaminaError) {
        try checkElements(adding: stack.count - height)
        guard height > 0, case .dictionary(let dictionary) = stack[height - 1],
            (stack.count - height).isMultiple(of: 2)
        else { throw failure("the pickle sets items of something that is no dict, or a key without a value") }
        itemCount += stack.count - height
        for index in stride(from: height, to: stack.count, by: 2) {
            heap.dictionaries[Int(dictionary)].append((stack[index], stack[index + 1]))
        }
        stack.removeSubrange(height...)
    }

    private func checkElements(adding count: Int) throws(LaminaError) {
        guard heap.elements.count + itemCount + count <= PickleReader.maximumElements else {
            throw limit("elements of tuples, lists and dicts", PickleReader.maximumElements)
        }
    }

    private func checkObjects(_ count: Int) throws(LaminaError) {
        guard count < PickleReader.maximumObjects else { throw limit("objects", PickleReader.maximumObjects) }
    }

    /// Every pickler numbers its memo from 0 without holes.
    private mutating func remember(at index: Int) throws(LaminaError) {
        guard let value = stack.last, stack.count > (marks.last ?? 0) else {
            throw failure("the pickle's stack is empty")
        }
        guard index <= memo.count else { throw failure("the pickle's memo has a hole", found: "number \(index)") }
        if index == memo.count {
            try checkObjects(memo.count)
            memo.append(value)
        } else {
            memo[index] = value
        }
    }

    private mutating func recall(_ index: Int) throws(LaminaError) {
        guard index < memo.count else {
            throw failure("the pickle recalls what it has not noted", found: "number \(index)")
        }
        try push(memo[index])
    }

    /// Notes a storage or a tensor.
    mutating func add(_ storage: PickleHeap.Storage) throws(LaminaError) -> PickleValue {
        try checkObjects(heap.storages.count)
        heap.storages.append(storage)
        return .storage(Int32(heap.storages.count - 1))
    }

    mutating func add(_ tensor: PickleHeap.Tensor) throws(LaminaError) -> PickleValue {
        try checkObjects(heap.tensors.count)
        heap.tensors.append(tensor)
        return .tensor(Int32(heap.tensors.count - 1))
    }
}
