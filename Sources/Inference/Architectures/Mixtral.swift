import TensorCore

extension Architecture {
    /// Mixtral (arXiv 2401.04088): Mistral with a mixture of experts in every layer.
    public static let mixtral = Architecture(
        name: "mixtral", modelTypes: ["mixtral"], classNames: ["MixtralForCausalLM"]
    ) { (reader) throws(LaminaError) in
        let form = try LlamaForm(reader, absentBase: 1_000_000)
        let window = try reader.window()
        let routing = try reader.routing(experts: "num_local_experts", normalizes: true)
        let prefix = "model.layers.*.block_sparse_moe."
        let experts = ExpertFeedForward(
            hidden: form.hidden, intermediate: form.intermediate, router: prefix + "gate", routing: routing,
            gate: prefix + "experts.#.w1", up: prefix + "experts.#.w3", down: prefix + "experts.#.w2",
            function: form.function)
        return form.model(attention: { _ in form.attention(window: window) }, feedForward: { _ in experts })
    }
}
