import CKernels

/// `int8-dynamic`: the 8-bit dynamic codes of bitsandbytes, blocks of 2048 elements of the flattened tensor. About 8.02
/// bits a weight. Source: Dettmers et al., 8-bit Optimizers via Block-wise Quantization, arXiv 2110.02861.
public struct DynamicInt8: QuantizationScheme {
    public init() {}
    public var identifier: UInt8 { 21 }
    public var name: String { "int8-dynamic" }
    public var form: lamina_scheme { LAMINA_SCHEME_INT8_DYNAMIC }
    public var flatBlock: Int { 2048 }
}
