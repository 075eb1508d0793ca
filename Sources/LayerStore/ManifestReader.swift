import TensorCore

/// Takes typed values out of a manifest's JSON; every failure names the key.
public struct ManifestReader: Sendable {
    public let file: String

    public init(file: String) { self.file = file }

    private func failure(_ key: String, _ expected: String, _ found: JSONValue?) -> LaminaError {
        LaminaError(
            .malformed, file, "bad value for \"\(key)\"", expected: expected, found: found?.summary ?? "nothing")
    }

    func object(_ object: JSONObject, _ key: String) throws(LaminaError) -> JSONObject {
        guard let value = object[key]?.object else { throw failure(key, "an object", object[key]) }
        return value
    }

    public func string(_ object: JSONObject, _ key: String) throws(LaminaError) -> String {
        guard let value = object[key]?.string else { throw failure(key, "a string", object[key]) }
        return value
    }

    public func integer(_ object: JSONObject, _ key: String, in range: ClosedRange<Int>) throws(LaminaError) -> Int {
        guard let value = object[key]?.integer, range.contains(value) else {
            throw failure(key, "an integer in \(range.lowerBound)...\(range.upperBound)", object[key])
        }
        return value
    }

    /// Any 64 bits, such as an inode's number.
    public func unsigned(_ object: JSONObject, _ key: String) throws(LaminaError) -> UInt64 {
        guard let value = object[key]?.unsignedInteger else { throw failure(key, "a natural number", object[key]) }
        return value
    }

    private func size(_ object: JSONObject, _ key: String) throws(LaminaError) -> UInt64 {
        UInt64(try integer(object, key, in: 0...Int.max))
    }

    public func digest(_ object: JSONObject, _ key: String = "sha256") throws(LaminaError) -> SHA256Digest {
        guard let digest = SHA256Digest(hexadecimal: try string(object, key)) else {
            throw failure(key, "64 hexadecimal digits", object[key])
        }
        return digest
    }

    public func list<T>(
        _ object: JSONObject, _ key: String, _ element: (JSONObject) throws(LaminaError) -> T
    ) throws(LaminaError) -> [T] {
        guard let values = object[key]?.array else { throw failure(key, "a list", object[key]) }
        var result: [T] = []
        for value in values {
            guard let entry = value.object else { throw failure(key, "a list of objects", value) }
            result.append(try element(entry))
        }
        return result
    }

    /// A path below the store that cannot leave it: no empty, `.` or `..` component, no backslash, no control character.
    private func path(_ object: JSONObject, _ key: String, below folder: String) throws(LaminaError) -> String {
        let path = try string(object, key)
        let parts = path.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        let isClean =
            parts.count >= 2 && path.utf8.count <= 4096
            && parts.allSatisfy { !$0.isEmpty && !$0.elementsEqual(".".utf8) && !$0.elementsEqual("..".utf8) }
            && path.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F && $0 != UInt8(ascii: "\\") }
        guard isClean, let first = parts.first, first.elementsEqual(folder.utf8) else {
            throw failure(key, "a path inside \(folder)/", object[key])
        }
        return path
    }

    public func sourceFile(_ object: JSONObject) throws(LaminaError) -> Manifest.Source.File {
        Manifest.Source.File(
            path: try string(object, "path"), format: try sourceFormat(object), size: try size(object, "size"),
            header: try path(object, "header", below: "side"), dataOffset: try size(object, "data_offset"))
    }

    /// Safetensors is what nothing is said of.
    private func sourceFormat(_ object: JSONObject) throws(LaminaError) -> Manifest.Source.Format {
        guard let value = object["format"] else { return .safetensors }
        guard let format = value.string.flatMap(Manifest.Source.Format.init(rawValue:)), format != .safetensors else {
            throw failure("format", "torch-zip, torch-stream or nothing", value)
        }
        return format
    }

    public func sideFile(_ object: JSONObject) throws(LaminaError) -> Manifest.SideFile {
        Manifest.SideFile(
            path: try path(object, "path", below: "side"), size: try size(object, "size"), digest: try digest(object))
    }

    func tie(_ object: JSONObject) throws(LaminaError) -> Manifest.Tie {
        Manifest.Tie(name: try string(object, "name"), target: try string(object, "target"))
    }

    public func shard(_ object: JSONObject) throws(LaminaError) -> Manifest.Shard {
        Manifest.Shard(
            path: try path(object, "path", below: "layers"), layer: try string(object, "layer"),
            size: try size(object, "size"), digest: try digest(object), tensors: try list(object, "tensors", tensor))
    }

    private func tensor(_ object: JSONObject) throws(LaminaError) -> Manifest.Tensor {
        let name = try string(object, "name")
        guard let dtype = DType(rawValue: try string(object, "dtype")) else {
            throw failure("dtype", "a known dtype", object["dtype"])
        }
        guard let layout = TensorLayout(name: try string(object, "layout")) else {
            throw failure("layout", TensorLayout.allCases.map(\.name).joined(separator: ", "), object["layout"])
        }
        let codec = try string(object, "codec")
        guard Codecs.named(codec) != nil else {
            throw failure("codec", Codecs.all.map(\.name).joined(separator: ", "), object["codec"])
        }
        let limit = Shape.maximumDimension
        guard let dimensions = object["shape"]?.array else { throw failure("shape", "a list", object["shape"]) }
        var shape = Shape([])
        for dimension in dimensions {
            guard let value = dimension.integer, (0...limit).contains(value) else {
                throw failure("shape", "dimensions in 0...\(limit)", dimension)
            }
            shape.dimensions.append(value)
        }
        if let problem = shape.problem(elementSize: dtype.size) {
            throw LaminaError(.malformed, file, problem, tensor: name)
        }
        return Manifest.Tensor(
            name: name, storedName: try string(object, "stored_name"), dtype: dtype, shape: shape, layout: layout,
            codec: codec, sourceFile: try integer(object, "source_file", in: 0...Int.max),
            sourceOffset: try size(object, "source_offset"), digest: try digest(object),
            unusedBecause: object["unused_because"]?.string, quantization: try quantization(object, codec: codec))
    }

    /// What a lossy codec cost; its absence would make a store look lossless.
    private func quantization(_ object: JSONObject, codec: String) throws(LaminaError) -> Manifest.Quantization? {
        let isLossy = Codecs.named(codec)?.isLossless == false
        guard isLossy || object["quantization"] != nil else { return nil }
        guard isLossy, let entry = object["quantization"]?.object, let error = entry["relative_error"]?.double,
            error.isFinite, error >= 0
        else {
            throw failure(
                "quantization", "an object with a relative error, for quantized tensors only", object["quantization"])
        }
        return Manifest.Quantization(relativeError: error, step: entry["step"]?.double)
    }
}
