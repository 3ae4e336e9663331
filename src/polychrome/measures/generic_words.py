"""English words and phrases that fit any post: what the part ``genericness`` of the heuristic reward counts.

Case-folded, with straight apostrophes. Function words, interjections and the all-purpose adjectives of small talk are
single words; what is said whole, without regard to the post, is a stock phrase.
"""

from __future__ import annotations

_WORDS = """
    a about after again ah aha all also am an and any anybody anyone anything are aren't around as at aw away
    awesome aww back bad be because been before being best better both but by bye can can't cannot cant come
    cool could couldn't did didn't didnt do does doesn't doesnt doing don't done dont down each eh either else
    enough even ever every everybody everyone everything few fine for from fun get gets getting glad go goes
    going gonna good got gotta great ha had hadn't haha hahaha happy has hasn't have haven't having he he'd
    he'll he's hello her here hers herself hey hi him himself his hm hmm how how's however i i'd i'll i'm i've
    id if ill im in instead interesting into is isn't isnt it it'd it'll it's its itself ive just kind kinda
    know let let's lets like lol lot lots made make makes many may maybe me mean might mine more most much must
    my myself nah neither never nice no nobody none nope nor not nothing now of off often oh ok okay on once one
    only ooh or other others our ours ourselves out over own perhaps pretty probably quite rather really right
    said same say says see seem seems she she'd she'll she's should shouldn't since so some somebody someone
    something sometimes somewhere sorry still stuff such sure take than thank thanks that that'd that'll that's
    thats the their theirs them themselves then there there'd there'll there's these they they'd they'll they're
    they've theyre thing things think this those though through to together too true try u um under until up
    upon ur us very wanna want was wasn't way we we'd we'll we're we've well were weren't what what's whatever
    whats when where where's whether which while who who'd who's whom whose why will with without won't
    wonderful wont would wouldn't wow y'all yay yea yeah yep yes yet you you'd you'll you're you've your youre
    yours yourself yourselves yup
"""

_PHRASES = """
    a good idea | a great idea | a great question | all the best | as an ai | as an ai language model |
    fair enough | for sure | for your support | good for you | good idea | good job | good luck | good point |
    good question | great idea | great job | great question | have a good day | have a good one |
    have a great day | have a great time | have a nice day | here to help | hope this helps | hope you enjoy |
    how about you | how are you | how are you doing | how are you feeling | how can i help | how can i help you |
    how can i help you today | how's it going | i agree | i agree with you | i am glad to hear that |
    i am here to help | i am not sure | i am sorry | i am sorry to hear that | i don't know | i dont know |
    i feel you | i get it | i get that | i guess so | i have no idea | i hear you | i hope so | i hope you enjoy |
    i see | i think so | i understand | i understand how you feel | i wish you the best | i'd love to hear more |
    i'm glad | i'm glad to hear that | i'm glad you enjoyed it | i'm happy for you | i'm here for you |
    i'm here to help | i'm not sure | i'm not sure what you mean | i'm so sorry | i'm sorry |
    i'm sorry to hear that | keep it up | keep up the good work | let me know |
    let me know if you have any questions | let me know if you need anything | makes sense | me either |
    me neither | me too | my pleasure | nice to hear from you | nice to meet you | no idea | no kidding |
    no problem | no way | no worries | not bad | not really | not sure | of course | oh my god | oh my gosh |
    oh well | same here | same to you | so cool | so true | sounds amazing | sounds awesome | sounds cool |
    sounds fun | sounds good | sounds great | sounds interesting | sounds like a good idea |
    sounds like a great idea | sounds like a plan | sounds like fun | sounds nice | take care | tell me about it |
    tell me more | tell me more about it | thank you for asking | thank you for sharing | thank you so much |
    thanks for asking | thanks for sharing | thanks so much | that is awesome | that is great |
    that is great to hear | that is true | that makes sense | that sounds amazing | that sounds awesome |
    that sounds great | that sounds like a good idea | that sounds like a great idea |
    that sounds like a lot of fun | that sounds like fun | that's a good idea | that's a good point |
    that's a good question | that's a great idea | that's a great point | that's a great question |
    that's amazing | that's crazy | that's fair | that's great to hear | that's hilarious | that's so cool |
    that's so funny | that's too bad | that's understandable | to hear that | what a great idea | what about you |
    what are you up to | what do you mean | what do you think | what's up | you are welcome |
    you know what i mean | you too | you're right | you're welcome
"""

FUNCTION_WORDS = frozenset(_WORDS.split())
STOCK_PHRASES = frozenset(tuple(phrase.split()) for phrase in _PHRASES.split("|"))
