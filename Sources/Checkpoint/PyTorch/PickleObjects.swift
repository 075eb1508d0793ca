import TensorCore

/// What the globals and persistent ids of a state dict describe (`torch/_utils.py`, `torch/serialization.py`).
extension PickleReader {
    /// What calling `global` with these arguments would make.
    mutating func object(_ global: PickleGlobal, _ arguments: PickleSlice) throws(LaminaError) -> PickleValue {
        let values = try elements(of: arguments)
        switch global {
        case .orderedDictionary:
            guard values.isEmpty else { throw failure("an OrderedDict is made with arguments") }
            return try makeDictionary()
        case .size:
            guard values.count == 1, case .tuple = values[0] else {
                throw failure("a torch.Size is made of something other than a tuple")
            }
            return values[0]
        case .rebuildTensor: return try tensor(values, counts: 4...4)
        case .rebuildTensorV2: return try tensor(values, counts: 6...7)
        case .rebuildTensorV3: return try tensor(values, counts: 7...8, dtypeIndex: 6)
        case .rebuildParameter, .rebuildParameterWithState:
            // The tensor, requires_grad, backward hooks, attributes: only the first is data.
            guard (3...4).contains(values.count), case .tensor = values[0] else {
                throw failure("a parameter is made of something other than a tensor")
            }
            return values[0]
        case .storage, .untypedStorage, .dtype:
            throw failure("the pickle calls something that is no function", hint: PickleReader.distrust)
        }
    }

    /// A short tuple's elements.
    private func elements(of tuple: PickleSlice) throws(LaminaError) -> [PickleValue] {
        guard tuple.count <= PickleReader.maximumArguments else {
            throw failure("the pickle calls something with too many arguments", found: "\(tuple.count)")
        }
        return Array(heap[tuple])
    }

    /// `(storage, offset, size, stride, requires_grad, backward_hooks, dtype, metadata)`, the later ones not in all
    /// versions; the metadata says whether the numbers are to be conjugated or negated.
    private mutating func tensor(
        _ values: [PickleValue], counts: ClosedRange<Int>, dtypeIndex: Int? = nil
    ) throws(LaminaError) -> PickleValue {
        guard counts.contains(values.count), case .storage(let storage) = values[0],
            case .integer(let offset) = values[1], offset >= 0, case .tuple(let shape) = values[2],
            case .tuple(let stride) = values[3], shape.count == stride.count,
            shape.count <= PickleReader.maximumShapeCount, heap.integers(shape) != nil, heap.integers(stride) != nil
        else { throw failure("a tensor is made of something other than a storage, an offset, a shape and strides") }
        var dtype = heap.storages[Int(storage)].dtype ?? .uint8
        if let dtypeIndex {
            guard case .dtype(let stated)? = values[dtypeIndex].namedGlobal else {
                throw failure("a tensor's dtype is no dtype")
            }
            dtype = stated
        }
        if counts.count > 1, values.count == counts.upperBound, !isEmpty(values[values.count - 1]) {
            throw failure("a tensor is stored conjugated or negated", hint: "save the resolved tensor")
        }
        return try add(PickleHeap.Tensor(storage: storage, dtype: dtype, offset: offset, shape: shape, stride: stride))
    }

    private func isEmpty(_ value: PickleValue) -> Bool {
        switch value {
        case .none: true
        case .dictionary(let index): heap.dictionaries[Int(index)].isEmpty
        default: false
        }
    }

    /// `("storage", class, key, location, element count)`, and in legacy streams `None` or `(key, offset, count)` of a
    /// view. The location is the device the tensor was on, which means nothing here.
    mutating func storage(_ id: PickleSlice) throws(LaminaError) -> PickleValue {
        let values = try elements(of: id)
        guard (5...6).contains(values.count), case .text(let kind) = values[0], let type = values[1].namedGlobal,
            case .text(let key) = values[2], case .text = values[3], case .integer(let count) = values[4], count >= 0
        else { throw failure("a persistent id does not describe a storage") }
        guard isEqual(kind, "storage"), key.count <= PickleReader.maximumNameBytes else {
            throw failure("a persistent id does not name a storage")
        }
        var storage: PickleHeap.Storage
        switch type {
        case .storage(let dtype): storage = PickleHeap.Storage(key: key, dtype: dtype, count: count, wholeCount: count)
        case .untypedStorage: storage = PickleHeap.Storage(key: key, count: count, wholeCount: count)
        default: throw failure("a persistent id does not name a class of storages")
        }
        guard Checked.multiply(count, storage.elementSize) != nil else {
            throw failure("a storage is too large to address", found: "\(count) elements")
        }
        guard values.count == 6, values[5] != .none else { return try add(storage) }
        guard case .tuple(let view) = values[5] else { throw failure("a persistent id does not describe a view") }
        let parts = try elements(of: view)
        guard parts.count == 3, case .integer(let first) = parts[1], case .integer(let viewed) = parts[2], first >= 0,
            viewed >= 0,
            let end = Checked.add(first, viewed), end <= count
        else { throw failure("a view is not inside its storage", expected: "a part of \(count) elements") }
        storage.firstElement = first
        storage.count = viewed
        return try add(storage)
    }
}

extension PickleValue {
    fileprivate var namedGlobal: PickleGlobal? { if case .global(let global) = self { global } else { nil } }
}
