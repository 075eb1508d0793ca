import TensorCore

/// The names that the pickle of a state dict may refer to. They are labels here: nothing is ever imported or called.
enum PickleGlobal: Equatable, Sendable {
    /// `collections.OrderedDict`, what `state_dict()` returns.
    case orderedDictionary
    /// `torch.Size`, a tuple.
    case size
    /// The functions of `torch._utils` under which tensors are pickled.
    case rebuildTensor
    case rebuildTensorV2
    case rebuildTensorV3
    case rebuildParameter
    case rebuildParameterWithState
    /// `torch.HalfStorage` and so on: a storage of elements of one type.
    case storage(DType)
    /// `torch.storage.UntypedStorage`: a storage of bytes.
    case untypedStorage
    /// `torch.float16` and so on.
    case dtype(DType)

    /// `nil` for every name that a state dict of tensors has no need of.
    init?(module: String, name: String) {
        guard let global = PickleGlobal.named["\(module) \(name)"] else { return nil }
        self = global
    }

    private static let named: [String: PickleGlobal] = {
        var named: [String: PickleGlobal] = [
            "collections OrderedDict": .orderedDictionary, "torch Size": .size,
            "torch._utils _rebuild_tensor": .rebuildTensor, "torch._utils _rebuild_tensor_v2": .rebuildTensorV2,
            "torch._utils _rebuild_tensor_v3": .rebuildTensorV3,
            "torch._utils _rebuild_parameter": .rebuildParameter,
            "torch._utils _rebuild_parameter_with_state": .rebuildParameterWithState,
            "torch.storage UntypedStorage": .untypedStorage, "torch UntypedStorage": .untypedStorage,
        ]
        let storages: [(String, DType)] = [
            ("Double", .float64), ("Float", .float32), ("Half", .float16), ("BFloat16", .bfloat16), ("Long", .int64),
            ("Int", .int32), ("Short", .int16), ("Char", .int8), ("Byte", .uint8), ("Bool", .bool),
        ]
        for (name, dtype) in storages { named["torch \(name)Storage"] = .storage(dtype) }
        let dtypes: [(String, DType)] = [
            ("float64", .float64), ("float32", .float32), ("float16", .float16), ("bfloat16", .bfloat16),
            ("int64", .int64), ("int32", .int32), ("int16", .int16), ("int8", .int8), ("uint8", .uint8),
            ("bool", .bool), ("uint16", .uint16), ("uint32", .uint32), ("uint64", .uint64),
            ("float8_e4m3fn", .float8E4M3), ("float8_e5m2", .float8E5M2),
        ]
        for (name, dtype) in dtypes { named["torch \(name)"] = .dtype(dtype) }
        return named
    }()
}
