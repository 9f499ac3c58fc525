#include "gateway/dispatcher.h"

#include <random>
#include <utility>

namespace pamir::gateway {

Dispatcher::Dispatcher(const DispatcherOptions& options, flow::Engine* engine,
                       const flow::Text* text)
    : options_(options),
      gate_(options.max_active_calls),
      backend_{engine, text, &pool_},
      pool_(options.text_threads, options.max_queued_text_jobs) {}

std::shared_ptr<GenerateCall> Dispatcher::NewGenerate(flow::GenerateRequest request,
                                                      ChunkWriter* writer) {
  request.id = NextId();
  return std::make_shared<GenerateCall>(backend_, std::move(request), writer,
                                        options_.max_unread_bytes);
}

std::shared_ptr<ScoreCall> Dispatcher::NewScore(flow::GenerateRequest request,
                                                ScoreCall::Done done) {
  request.id = NextId();
  return std::make_shared<ScoreCall>(backend_, std::move(request), std::move(done));
}

void Dispatcher::Tokenize(std::string text, bool add_bos,
                          const std::function<void(Outcome<std::vector<TokenId>>)>& done) {
  const bool queued = pool_.TryPostLong([this, text = std::move(text), add_bos, done] {
    absl::StatusOr<std::vector<TokenId>> ids = backend_.text->Encode(text);
    if (!ids.ok()) return done(FromStatus(ids.status(), "text"));
    if (add_bos) ids->insert(ids->begin(), backend_.text->bos());
    done(*std::move(ids));
  });
  if (!queued) done(TextQueueFull());
}

void Dispatcher::Detokenize(std::vector<TokenId> ids, bool skip_special,
                            const std::function<void(Outcome<std::string>)>& done) {
  const bool queued = pool_.TryPostLong([this, ids = std::move(ids), skip_special, done] {
    absl::StatusOr<std::string> text = backend_.text->Decode(ids, skip_special);
    if (!text.ok()) return done(FromStatus(text.status(), "token_ids"));
    done(*std::move(text));
  });
  if (!queued) done(TextQueueFull());
}

uint64_t Dispatcher::DrawSeed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

}  // namespace pamir::gateway
