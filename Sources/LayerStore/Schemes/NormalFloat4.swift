import CKernels

/// `nf4`: the 4-bit codes of bitsandbytes, blocks of 64 elements of the flattened tensor, with half-precision scales.
/// 4.25 bits a weight. Source: Dettmers et al., QLoRA, arXiv 2305.14314.
public struct NormalFloat4: QuantizationScheme {
    public init() {}
    public var identifier: UInt8 { 19 }
    public var name: String { "nf4" }
    public var form: lamina_scheme { LAMINA_SCHEME_NF4 }
    public var flatBlock: Int { 64 }
}

/// `nf4-double`: `nf4` whose scales are quantized too, to 8 bits under one scale a row. About 4.13 bits a weight.
public struct NormalFloat4Double: QuantizationScheme {
    public init() {}
    public var identifier: UInt8 { 20 }
    public var name: String { "nf4-double" }
    public var form: lamina_scheme { LAMINA_SCHEME_NF4_DOUBLE }
    public var flatBlock: Int { 64 }
}
