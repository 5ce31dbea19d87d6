// SPDX-License-Identifier: MIT
// Those that wait for a CPU.  What a policy asks of them takes as long for ten as for ten thousand.
#pragma once

#include "sched/policy.hpp"

namespace pvn::sched {

class Waiting {
public:
    std::uint32_t size() const { return tree_.size(); }
    bool empty() const { return tree_.empty(); }
    Standing const& all() const { return tree_.all(); }
    static Standing const& of(Entity const& entity) { return Tree::own(entity); }

    std::uint32_t movers() const { return movers_; }  // how many of them may run elsewhere

    void insert(Entity& entity, Standing const& standing)
    {
        movers_ += standing.elsewhere.empty() ? 0 : 1;
        tree_.insert(entity, standing);
    }
    void erase(Entity& entity)
    {
        movers_ -= of(entity).elsewhere.empty() ? 0 : 1;
        tree_.erase(entity);
    }

    // One of whom holds(standing) is true; null: there is none.  Of many together it is true if it is of one of them, and only then.
    template <class Holds>
    Entity* find(Holds holds) const { return tree_.find(holds); }

    // A search for who had best go to a CPU, through one or more groups.
    struct Search {
        Cpu to;
        MayMove may_move;
        std::optional<Place> limit{};  // who is found has a place before it
        Entity* found = nullptr;
        unsigned looks = most_looks;
    };
    // The least place counts, with penalty(entity) added to its time.  Exact, but where more than most_looks would have to be looked at one by
    // one, because they have places before that of whom is found but may not go there, or are penalized: then one may be found who is not the
    // least.  Where anybody may go there without a limit, somebody is found.
    template <class Penalty>
    void look_for(Search& search, Penalty penalty) const
    {
        auto const fits = [&](Place const& place) { return !search.limit || place < *search.limit; };
        tree_.walk([&](Standing const& all) { return search.looks != 0 && all.elsewhere.has(search.to) && fits(all.mover); },
                   [](Standing const& a, Standing const& b) { return !a.elsewhere.empty() && (b.elsewhere.empty() || a.mover < b.mover); },
                   [&](Entity& entity, Standing const& own) {
                       --search.looks;
                       if (!own.elsewhere.has(search.to) || !search.may_move(entity))
                           return;
                       Place const place{own.place.time + penalty(entity), own.place.turn};
                       if (!fits(place))
                           return;
                       search.found = &entity;
                       search.limit = place;
                   });
    }
    static constexpr unsigned most_looks = 128;

private:
    using Tree = SummaryTree<&Entity::waiting_>;
    Tree tree_{};
    std::uint32_t movers_ = 0;
};

}  // namespace pvn::sched
