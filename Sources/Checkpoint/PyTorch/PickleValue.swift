import TensorCore

/// A run of the pickle's bytes, or of the heap's elements.
struct PickleSlice: Equatable, Sendable {
    var start: Int32
    var count: Int32

    /// Both numbers are below the limits of `PickleReader`.
    init(start: Int, count: Int) {
        self.start = Int32(start)
        self.count = Int32(count)
    }

    var range: Range<Int> { Int(start)..<(Int(start) + Int(count)) }
}

/// What a pickle's opcodes make: plain numbers that refer to places in the pickle or in a `PickleHeap`. A value owns
/// nothing, so however deep or cyclic a file builds its objects, nothing recurses over them, not even their release.
enum PickleValue: Equatable, Sendable {
    case none
    case bool(Bool)
    case integer(Int)
    /// Two's complement, little-endian, of more than 8 bytes.
    case longInteger(PickleSlice)
    case real
    /// UTF-8, not checked.
    case text(PickleSlice)
    case tuple(PickleSlice)
    /// Indexes into the heap's tables.
    case list(Int32)
    case dictionary(Int32)
    case storage(Int32)
    case tensor(Int32)
    case global(PickleGlobal)

    var integer: Int? { if case .integer(let value) = self { value } else { nil } }

    /// What it is, for messages.
    var kind: String {
        switch self {
        case .none: "None"
        case .bool: "a bool"
        case .integer, .longInteger: "an int"
        case .real: "a float"
        case .text: "a str"
        case .tuple: "a tuple"
        case .list: "a list"
        case .dictionary: "a dict"
        case .storage: "a storage"
        case .tensor: "a tensor"
        case .global: "a class or function"
        }
    }
}

/// Where the objects of pickles are.
struct PickleHeap {
    /// A storage, as its persistent id describes it.
    struct Storage: Equatable {
        var key: PickleSlice
        /// `nil`: bytes.
        var dtype: DType?
        /// Elements, from `firstElement` of the storage that is in the file on.
        var count: Int
        var firstElement = 0
        /// Elements of the storage that is in the file.
        var wholeCount: Int

        var elementSize: Int { dtype?.size ?? 1 }
    }

    /// A tensor: a view of a storage.
    struct Tensor {
        var storage: Int32
        var dtype: DType
        /// First element, counted in elements of `dtype`.
        var offset: Int
        /// Integers all, outermost dimension first.
        var shape: PickleSlice
        var stride: PickleSlice
    }

    /// Of tuples, one after another.
    var elements: [PickleValue] = []
    var lists: [[PickleValue]] = []
    var dictionaries: [[(key: PickleValue, value: PickleValue)]] = []
    var storages: [Storage] = []
    var tensors: [Tensor] = []

    /// A tuple's elements.
    subscript(tuple: PickleSlice) -> ArraySlice<PickleValue> { elements[tuple.range] }

    /// A tuple of integers, `nil` if `slice` holds something else.
    func integers(_ slice: PickleSlice) -> [Int]? {
        var integers: [Int] = []
        for element in self[slice] {
            guard case .integer(let value) = element else { return nil }
            integers.append(value)
        }
        return integers
    }
}
