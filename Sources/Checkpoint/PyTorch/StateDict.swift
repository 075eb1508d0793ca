import TensorCore

/// The tensors of a pickled state dict, each a checked range of a storage that is still to be found in the file.
struct StateDict {
    /// A storage that the file must have, whole.
    struct Storage: Equatable {
        /// Names it in the file: a number for today's torch, an address for old ones. Never a path.
        var key: [UInt8]
        /// Elements, and bytes of each.
        var count: Int
        var elementSize: Int

        var byteCount: UInt64 { UInt64(count) * UInt64(elementSize) }
    }

    struct Entry {
        var name: String
        var dtype: DType
        var shape: Shape
        /// Index into `storages`.
        var storage: Int
        /// Inside the storage.
        var bytes: Range<Int>
    }

    /// In the order of the pickle.
    let entries: [Entry]
    /// Every storage that the pickle refers to, once.
    let storages: [Storage]
    /// Entries that are no tensors, and what they are instead.
    let ignored: [(name: String, kind: String)]

    /// From the value of a pickle that `reader` has read. A state dict is flat: a dict from names to tensors. Numbers,
    /// text and None beside them are ignored; everything else is refused. Throws `.malformed`.
    init(_ root: PickleValue, _ reader: PickleReader) throws(LaminaError) {
        guard case .dictionary(let dictionary) = root else {
            throw LaminaError(
                .malformed, reader.window.path, "the file holds no state dict",
                expected: "a dict of tensors", found: root.kind, hint: "save model.state_dict()")
        }
        var builder = Builder(reader: reader)
        // Also those that no tensor of the dict uses: a legacy stream holds them too.
        for index in reader.heap.storages.indices { _ = try builder.storage(index) }
        for (key, value) in reader.heap.dictionaries[Int(dictionary)] { try builder.add(key, value) }
        entries = builder.entries
        storages = builder.storages
        ignored = builder.ignored
    }
}

private struct Builder {
    let reader: PickleReader
    var entries: [StateDict.Entry] = []
    var storages: [StateDict.Storage] = []
    var ignored: [(name: String, kind: String)] = []
    private var names: Set<[UInt8]> = []
    private var places: [[UInt8]: Int] = [:]

    init(reader: PickleReader) {
        self.reader = reader
    }

    private func failure(_ problem: String, tensor: String? = nil, expected: String? = nil, found: String? = nil)
        -> LaminaError
    {
        LaminaError(
            .malformed, reader.window.path, problem, expected: expected, found: found, tensor: tensor)
    }

    /// The place in `storages` of the heap's storage `index`.
    mutating func storage(_ index: Int) throws(LaminaError) -> Int {
        let found = reader.heap.storages[index]
        let key = Array(reader.window.bytes[found.key.range])
        let storage = StateDict.Storage(key: key, count: found.wholeCount, elementSize: found.elementSize)
        guard let place = places[key] else {
            places[key] = storages.count
            storages.append(storage)
            return storages.count - 1
        }
        guard storages[place] == storage else {
            throw failure(
                "the storage \(escapedForDisplay(String(decoding: key, as: UTF8.self), limit: 80)) is described twice, "
                    + "and differently")
        }
        return place
    }

    mutating func add(_ key: PickleValue, _ value: PickleValue) throws(LaminaError) {
        guard case .text(let slice) = key else {
            throw failure("the dict is no state dict", expected: "names as keys", found: key.kind)
        }
        let name = try reader.text(slice)
        do throws(LaminaError) {
            try TensorName.check(name.utf8)
        } catch {
            throw error.about(reader.window.path)
        }
        guard names.insert(Array(name.utf8)).inserted else {
            throw failure("the name is in the state dict twice", tensor: name)
        }
        switch value {
        case .tensor(let index): entries.append(try entry(name, reader.heap.tensors[Int(index)]))
        case .none, .bool, .integer, .longInteger, .real, .text: ignored.append((name, value.kind))
        case .tuple, .list, .dictionary, .storage, .global: throw nested(name, value)
        }
    }

    /// What transformers reads is flat; training programs wrap it.
    private func nested(_ name: String, _ value: PickleValue) -> LaminaError {
        var hint = "save only the state dict of the model"
        if case .dictionary = value {
            hint = "if the weights are in there, save that dict alone: torch.save(checkpoint[\"\(name)\"], …)"
        }
        var error = failure(
            "\"\(escapedForDisplay(name, limit: 80))\" is no tensor", expected: "a flat dict from names to tensors",
            found: value.kind)
        error.hint = hint
        return error
    }

    private mutating func entry(_ name: String, _ tensor: PickleHeap.Tensor) throws(LaminaError) -> StateDict.Entry {
        let view = reader.heap.storages[Int(tensor.storage)]
        guard let shape = reader.heap.integers(tensor.shape), let strides = reader.heap.integers(tensor.stride) else {
            throw failure("the shape is not made of integers", tensor: name)
        }
        if let problem = Shape(shape).problem(elementSize: tensor.dtype.size) {
            throw failure(problem, tensor: name)
        }
        let contiguous = StateDict.rowMajorStrides(of: shape)
        guard StateDict.isContiguous(shape, strides, contiguous) else {
            var error = failure(
                "the tensor is not contiguous", tensor: name, expected: "strides \(contiguous) for shape \(shape)",
                found: "\(strides)")
            error.hint = "save it after .contiguous()"
            throw error
        }
        let count = Shape(shape).elementCount * tensor.dtype.size
        let available = view.count * view.elementSize
        guard let offset = Checked.multiply(tensor.offset, tensor.dtype.size), let end = Checked.add(offset, count),
            end <= available
        else {
            throw failure(
                "the tensor is not inside its storage", tensor: name,
                expected: "at most \(available) bytes", found: "\(count) bytes from element \(tensor.offset) on")
        }
        let base = view.firstElement * view.elementSize
        return StateDict.Entry(
            name: name, dtype: tensor.dtype, shape: Shape(shape), storage: try storage(Int(tensor.storage)),
            bytes: (base + offset)..<(base + end))
    }
}

extension StateDict {
    /// The strides of a contiguous tensor, in elements; `shape` has no `problem`.
    static func rowMajorStrides(of shape: [Int]) -> [Int] {
        var strides = [Int](repeating: 1, count: shape.count)
        for index in shape.indices.dropLast().reversed() {
            strides[index] = strides[index + 1] * max(1, shape[index + 1])
        }
        return strides
    }

    /// As torch defines it: the stride of a dimension of one does not matter, nor any of a tensor without elements.
    static func isContiguous(_ shape: [Int], _ strides: [Int], _ contiguous: [Int]) -> Bool {
        shape.contains(0) || shape.indices.allSatisfy { shape[$0] == 1 || strides[$0] == contiguous[$0] }
    }
}
