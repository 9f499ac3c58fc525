#include <fstream>
#include <iterator>
#include <string>

#include "core/spec/model_spec.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pamir::spec {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string ReadFile(const std::string& path) {
  std::ifstream in(std::string(PAMIR_SOURCE_DIR) + "/" + path);
  EXPECT_TRUE(in.good()) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

// A config.json of a small model, with one more field (or a field again: the last one wins).
std::string SmallWith(const std::string& field) {
  return R"({"model_type": "opt", "num_hidden_layers": 2, "hidden_size": 64,
             "num_attention_heads": 4, "ffn_dim": 256, "vocab_size": 1000)" +
         (field.empty() ? "" : ", " + field) + "}";
}

ModelSpec Parsed(const std::string& json) {
  const absl::StatusOr<ModelSpec> spec = ParseModelConfig(json, "small");
  EXPECT_TRUE(spec.ok()) << spec.status();
  return spec.ok() ? *spec : ModelSpec();
}

std::string ErrorOf(const std::string& json) {
  const absl::StatusOr<ModelSpec> spec = ParseModelConfig(json, "small");
  EXPECT_FALSE(spec.ok()) << json;
  EXPECT_EQ(spec.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(spec.status().message());
}

TEST(ModelConfig, DefaultsAreThoseOfOptConfig) {
  const ModelSpec spec = Parsed(SmallWith(""));
  EXPECT_EQ(spec.name, "small");
  EXPECT_EQ(spec.positions, 2048);
  EXPECT_EQ(spec.embed, 64);
  EXPECT_FALSE(spec.projected());
  EXPECT_EQ(spec.head_dim(), 16);
  EXPECT_TRUE(spec.pre_norm && spec.final_norm && spec.bias && spec.norm_affine && spec.tied);
  EXPECT_EQ(spec.activation, Activation::kRelu);
  EXPECT_EQ(spec.dtype, DType::kFloat16);
  EXPECT_EQ(spec.bos, 2);
  EXPECT_EQ(spec.eos, 2);
  EXPECT_EQ(spec.pad, 1);
}

TEST(ModelConfig, NullCountsAsAbsent) {
  EXPECT_EQ(Parsed(SmallWith(R"("word_embed_proj_dim": null, "torch_dtype": null)")),
            Parsed(SmallWith("")));
}

TEST(ModelConfig, ReadsEveryVariant) {
  EXPECT_FALSE(Parsed(SmallWith(R"("enable_bias": false)")).bias);
  EXPECT_FALSE(Parsed(SmallWith(R"("layer_norm_elementwise_affine": false)")).norm_affine);
  EXPECT_FALSE(Parsed(SmallWith(R"("tie_word_embeddings": false)")).tied);
  EXPECT_EQ(Parsed(SmallWith(R"("activation_function": "gelu")")).activation, Activation::kGelu);
  EXPECT_TRUE(Parsed(SmallWith(R"("word_embed_proj_dim": 32)")).projected());
  EXPECT_EQ(Parsed(SmallWith(R"("torch_dtype": "bfloat16")")).dtype, DType::kBFloat16);
  EXPECT_EQ(Parsed(SmallWith(R"("dtype": "float32")")).dtype, DType::kFloat32);

  const ModelSpec post = Parsed(SmallWith(R"("do_layer_norm_before": false)"));
  EXPECT_FALSE(post.pre_norm);
  EXPECT_FALSE(post.final_norm) << "post-norm models have no last norm";

  const ModelSpec removed = Parsed(SmallWith(R"("_remove_final_layer_norm": true)"));
  EXPECT_TRUE(removed.pre_norm);
  EXPECT_FALSE(removed.final_norm);
}

TEST(ModelConfig, ReadsTheModelsThatShip) {
  const ModelSpec fable = Parsed(ReadFile("configs/models/fable-14m/config.json"));
  EXPECT_EQ(fable.layers, 6);
  EXPECT_EQ(fable.vocab, 6144);
  EXPECT_EQ(ParameterCount(fable), 13'794'048);
  const ModelSpec like350m = Parsed(ReadFile("tests/golden/models/tiny-350m-like/config.json"));
  EXPECT_FALSE(like350m.pre_norm);
  EXPECT_EQ(like350m.embed, 32);
  const ModelSpec galactica =
      Parsed(ReadFile("tests/golden/models/tiny-galactica-like/config.json"));
  EXPECT_FALSE(galactica.bias || galactica.norm_affine);
  EXPECT_EQ(galactica.positions, 256);
}

TEST(ModelConfig, WhatIsWrittenReadsBack) {
  for (const char* field :
       {R"("do_layer_norm_before": false, "word_embed_proj_dim": 32)",
        R"("_remove_final_layer_norm": true)", R"("enable_bias": false, "torch_dtype": "float32")",
        R"("layer_norm_elementwise_affine": false, "activation_function": "gelu")",
        R"("tie_word_embeddings": false, "bos_token_id": 0, "eos_token_id": 7, "pad_token_id": 3)",
        R"("max_position_embeddings": 77, "dtype": "bfloat16")"}) {
    const ModelSpec spec = Parsed(SmallWith(field));
    EXPECT_EQ(Parsed(WriteModelConfig(spec)), spec) << field;
  }
  for (const std::string& name : NamedModels()) {
    const ModelSpec spec = NamedModel(name).value();
    const absl::StatusOr<ModelSpec> again = ParseModelConfig(WriteModelConfig(spec), name);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(*again, spec);
  }
}

TEST(ModelConfig, NamesFieldValueAndWhatIsRight) {
  EXPECT_THAT(ErrorOf(SmallWith(R"("hidden_size": -5)")),
              AllOf(HasSubstr("config.json of small"), HasSubstr("hidden_size is -5"),
                    HasSubstr("from 1 to 65536")));
  EXPECT_THAT(ErrorOf(SmallWith(R"("vocab_size": 18446744073709551615)")),
              HasSubstr("vocab_size is 18446744073709551615"));
  EXPECT_THAT(ErrorOf(SmallWith(R"("ffn_dim": 1.5)")), HasSubstr("ffn_dim is 1.5"));
  EXPECT_THAT(ErrorOf(SmallWith(R"("num_hidden_layers": "12")")),
              HasSubstr("num_hidden_layers is \"12\"; it must be an integer"));
  EXPECT_THAT(ErrorOf(SmallWith(R"("num_attention_heads": 7)")),
              AllOf(HasSubstr("num_attention_heads is 7"), HasSubstr("divide hidden_size"),
                    HasSubstr("64")));
  EXPECT_THAT(ErrorOf(SmallWith(R"("enable_bias": 1)")),
              HasSubstr("enable_bias is 1; it must be true or false"));
  EXPECT_THAT(ErrorOf(SmallWith(R"("activation_function": "swish")")),
              AllOf(HasSubstr("\"swish\""), HasSubstr("\"relu\" or \"gelu\"")));
  EXPECT_THAT(ErrorOf(SmallWith(R"("torch_dtype": "int8")")),
              AllOf(HasSubstr("torch_dtype is \"int8\""), HasSubstr("bfloat16")));
  EXPECT_THAT(ErrorOf(SmallWith(R"("bos_token_id": 1000)")),
              AllOf(HasSubstr("bos_token_id is 1000"), HasSubstr("from 0 to 999")));
  EXPECT_THAT(ErrorOf(SmallWith(R"("max_position_embeddings": 1000000000)")),
              HasSubstr("max_position_embeddings"));
}

TEST(ModelConfig, RefusesOtherModels) {
  EXPECT_THAT(ErrorOf(SmallWith(R"("model_type": "llama")")),
              AllOf(HasSubstr("model_type is \"llama\""), HasSubstr("\"opt\"")));
  EXPECT_THAT(ErrorOf("{}"), HasSubstr("model_type is missing"));
  EXPECT_THAT(ErrorOf(R"({"model_type": "opt"})"), HasSubstr("num_hidden_layers is missing"));
  EXPECT_THAT(ErrorOf(SmallWith(R"("quantization_config": {"bits": 4})")),
              HasSubstr("quantized checkpoints"));
}

TEST(ModelConfig, RefusesWhatIsNoObject) {
  EXPECT_THAT(ErrorOf(""), HasSubstr("cannot be parsed"));
  EXPECT_THAT(ErrorOf("{\"model_type\": "), HasSubstr("cannot be parsed"));
  EXPECT_THAT(ErrorOf("[1, 2]"), HasSubstr("not a JSON object: array"));
  EXPECT_THAT(ErrorOf(std::string((1 << 20) + 1, ' ')), HasSubstr("at most 1048576"));
}

TEST(ModelConfig, LongValuesAreCutInErrors) {
  const std::string error =
      ErrorOf(SmallWith("\"activation_function\": \"" + std::string(5000, 'x') + "\""));
  EXPECT_LT(error.size(), 300u);
}

}  // namespace
}  // namespace pamir::spec
