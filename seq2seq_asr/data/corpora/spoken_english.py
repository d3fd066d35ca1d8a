"""The English grammar of the spoken corpus; how rules are written is told in `spoken_grammar`.

Words that sound alike but are spelled differently (sean, shawn; flour, flower) are left out, but for those that
the words around them tell apart (two, to; four, for).
"""

RULES = """
sentence = <call> | <call> | <message> | <message> | <reminder> | <reminder> | <alarm> | <alarm> | <calendar>
 | <calendar> | <music> | <music> | <device> | <device> | <device> | <weather> | <weather> | <question> | <question>
 | <question> | <list> | <way> | <way> | <spell>

# who
person = <first> | <first> | <first> <last> | my <relative> | doctor <last>
relative = brother | sister | mother | father | uncle | cousin | neighbour | boss | dentist
first = adam | amanda | amy | andrew | arthur | barbara | benjamin | betty | brian | caroline | charles | charlotte
 | chloe | christina | christopher | daniel | david | deborah | donald | dorothy | douglas | edward | eleanor
 | elizabeth | emily | emma | eric | ethan | felix | frank | gabriel | george | gloria | grace | hannah | harold
 | harriet | helen | henry | hugo | isaac | isabel | jacob | james | jasmine | jason | jennifer | jeremy | jessica
 | jonathan | joseph | joshua | julia | katie | kenneth | kevin | laura | lily | linda | lucas | lucy | malcolm
 | margaret | maria | martin | matthew | melissa | michael | monica | naomi | natalie | nathan | nicholas | oliver
 | olivia | oscar | pamela | patricia | patrick | paula | peter | philip | rachel | rebecca | richard | robert | roger
 | rosemary | ruth | samantha | samuel | sandra | sebastian | sharon | simon | sophie | stella | susan | thomas
 | timothy | vanessa | veronica | victor | victoria | vincent | walter | wendy | william | winston | yvonne
last = anderson | armstrong | baker | bennett | campbell | carter | collins | cooper | davidson | elliott | evans
 | fletcher | foster | gibson | graham | hamilton | harrison | henderson | jackson | johnson | kennedy | lawrence
 | mason | mitchell | morgan | murphy | nelson | newton | palmer | parker | richardson | robinson | sanders | sullivan
 | thompson | turner | walker | watson | wilson

# numbers, dates and times
digit = zero | one | two | three | four | five | six | seven | eight | nine
unit = one | two | three | four | five | six | seven | eight | nine
teen = ten | eleven | twelve | thirteen | fourteen | fifteen | sixteen | seventeen | eighteen | nineteen
tens = twenty | thirty | forty | fifty | sixty | seventy | eighty | ninety
number = <tens> <unit> | <tens> <unit> | <teen> | <teen> | <tens>
large = <number> | <unit> hundred and <number> | <unit> thousand <unit> hundred
few = two | three | four | five | six | seven | eight | nine | ten | twelve | fifteen | twenty | thirty | forty five
hour = one | two | three | four | five | six | seven | eight | nine | ten | eleven | twelve
minute = oh five | ten | fifteen | twenty | twenty five | thirty | thirty five | forty | forty five | fifty
 | fifty five | twenty <unit> | forty <unit>
time = <hour> <minute> | <hour> <minute> | half past <hour> | quarter past <hour> | quarter to <hour>
 | ten past <hour> | twenty to <hour> | noon | midnight | <hour> in the <part> | <hour> <minute> in the <part>
part = morning | afternoon | evening
weekday = monday | tuesday | wednesday | thursday | friday | saturday | sunday
month = january | february | march | april | may | june | july | august | september | october | november | december
ordinal = first | second | third | fourth | fifth | sixth | seventh | eighth | ninth | tenth | eleventh | twelfth
 | thirteenth | fifteenth | sixteenth | eighteenth | twentieth | twenty first | twenty second | twenty third
 | twenty sixth | thirtieth
date = <weekday> | <weekday> <part> | the <ordinal> of <month> | <month> the <ordinal> | <weekday> the <ordinal>
when = tomorrow | tonight | this <part> | tomorrow <part> | next <weekday> | on <date> | on <date> | at <time>
 | at <time> | in <few> <span> | tomorrow at <time> | next week
day = today | tomorrow | tonight | this weekend | next week | on <weekday> | on <date>
span = minutes | hours | days | weeks
polite = please | please | - | - | - | -

# what to do
call = <polite> call <person> | call <person> on the <line> | dial <digit> <digit> <digit> <digit> <digit> <digit>
 | ring <person> back <when> | start a video call with <person> | phone the <place> in <city>
 | call back <first> <last> | give <person> a ring <when> | redial the number of <first> <last>
 | answer the <line> for <first> | dial <digit> <digit> <digit> <digit>
line = mobile | office phone | home number | speaker
message = tell <person> <news> | send a message to <person> saying <news> | text <person> that <news>
 | let <person> know that <news> | ask <person> <query> | read my messages from <person>
 | email <person> about the <topic>
news = i will be <few> minutes late | dinner is ready | the meeting starts at <time> | i am on my way to <city>
 | the train arrives at <time> | we are out of <food> | i lost my <thing> | happy birthday
 | i left the <thing> in the <room> | the <topic> is cancelled | i am stuck in traffic | see you <when>
 | the answer is <number> | we need more <food>
query = when the <topic> starts | if the <thing> is in the <room> | to bring <food> | what the <thing> costs
 | how the <topic> went | whether <person> is coming
topic = meeting | party | concert | interview | holiday | project | football match | wedding
thing = umbrella | passport | laptop | camera | bicycle | guitar | charger
reminder = remind me to <task> <when> | remind me <when> to <task> | do not let me forget to <task>
 | set a reminder to <task> <when> | remind <person> to <task> | what are my reminders for <date>
task = feed the <animal> | water the plants | pay the rent | call <person> | pick up <first> from school | buy <food>
 | take out the rubbish | wash the car | book a table for <few> | return the library books | charge the laptop
 | clean the <room> | visit <person> | pack the <thing> | order <food> | bring the <thing> | send the <topic> papers
animal = cat | dog | rabbit | hamster
alarm = set an alarm for <time> | wake me up at <time> | set a timer for <few> minutes
 | <polite> cancel the <time> alarm | set a timer for <few> hours and <number> minutes
 | set the alarm for <time> on <weekday> | stop the <food> timer | snooze for <few> minutes
 | how long is left on the <food> timer | add <few> minutes to the timer | wake me <when> at <time>
 | set a <number> second timer
calendar = schedule a meeting with <person> on <date> | move my appointment with <person> to <date>
 | book a <topic> with <person> at <time> | cancel the <topic> on <date> | when is my next meeting with <person>
 | put the <topic> in my calendar for <date> | what is on my calendar <day> | am i free at <time> on <weekday>
 | invite <person> and <first> to the <topic> | when is <first> <last> coming
 | birthday of <first> is <month> the <ordinal>

# music and devices
music = play <song> by <first> <last> | play some <genre> in the <room> | <polite> play <song>
 | skip this <genre> song | play the <ordinal> track again | turn the volume up to <number> percent
 | pause the <genre> | shuffle my <genre> playlist | add this song to my <genre> list | who sings <song>
 | play the latest album by <first> <last> | next <genre> song | play <genre> for <few> minutes
 | turn down the <genre> | what is the name of this <genre> song | resume the <genre> podcast
song = <colour> <noun> | <colour> <noun> | the <noun> and the <noun> | <noun> in the <noun> | dancing <when>
 | <month> <noun>
colour = blue | golden | silent | broken | purple | velvet | yellow
noun = river | summer | mountain | thunder | garden | ocean | window | dream | winter | forest | island | city
genre = jazz | classical music | rock | country | piano music | disco
device = turn <on> the <room> <lamp> | turn the <lamp> in the <room> <on> | dim the <room> lights to <number> percent
 | set the <room> heating to <number> degrees | <open> the <door> | <open> the <room> blinds <when>
 | is the <door> locked | make the <room> <lamp> <colour> | start the <machine> <when>
 | <polite> turn <on> the <machine> | turn <on> all the lights at <time> | set the <machine> to <number> degrees
 | is the <machine> still running | what is the temperature in the <room> | turn <on> the <machine> for <few> minutes
on = on | off
open = open | close
lamp = lights | lamp | ceiling fan | television | heater | radio
room = kitchen | bedroom | bathroom | living room | garage | cellar | office
door = front door | back door | garage door | garden gate
machine = oven | dishwasher | washing machine | vacuum cleaner | coffee maker | air conditioning | kettle

# questions
weather = what is the weather like in <city> <day> | will it <rain> in <city> <day> | how <cold> will it be <day>
 | how <cold> is it in <city> | do i need an umbrella <day> | will it be <cold> in <city> <day>
 | when will the <cold> weather end in <city> | what is the chance of snow in <city> | give me the forecast for <city>
 | when does the sun set in <city> | is it going to <rain> <when> | how many degrees is it in <city>
rain = rain | snow | be sunny | be foggy | be stormy | get cloudy
cold = cold | hot | windy | warm
question = what is <large> plus <number> | what is <large> minus <unit> | what is <unit> times <number>
 | how many <measure> are in <number> <measure> | how far is it from <city> to <city> | what time is it in <city>
 | when does the train to <city> leave | how tall is <first> <last> | how do you say <noun> in <language>
 | who invented the <machine> | how much is <large> dollars in euros | when is summer in <country>
 | how old is <first> <last> | what is the capital of <country> | when does the <place> open on <weekday>
 | translate <food> into <language> | what is <number> percent of <large> | how long does it take to boil <food>
 | is <city> bigger than <city> | what year was <first> <last> born | how many people live in <country>
 | divide <large> by <unit>
measure = metres | miles | kilometres | litres | seconds | minutes
language = french | german | spanish | italian | dutch
country = france | brazil | india | mexico | australia
city = amsterdam | barcelona | berlin | birmingham | boston | cambridge | chicago | copenhagen | dallas | denver
 | dublin | edinburgh | glasgow | hamburg | helsinki | istanbul | lisbon | liverpool | london | madrid | manchester
 | moscow | munich | new york | oxford | paris | prague | singapore | stockholm | sydney | tokyo | toronto | vienna
 | washington | zurich
list = add <food> and <food> to the shopping list | put <food> on my list | is <food> on the shopping list
 | remove <food> from the list | order <few> <pack> of <food> | buy <food> <food> and <food>
 | read me the shopping list | find a recipe with <food> and <food> | we need <few> <pack> of <food>
pack = bottles | boxes | bags
food = milk | bread | butter | cheese | apples | bananas | oranges | rice | pasta | chicken | salmon | tomatoes
 | potatoes | carrots | onions | coffee | sugar | honey | yoghurt | lemons | mushrooms | chocolate | eggs
way = take me to <number> <last> street | navigate to the nearest <place> | how do i get to the <place> in <city>
 | find a <kind> restaurant near the <place> | book a taxi to the <place> <when> | is there a <place> nearby
 | show me the fastest way to <city> | avoid the motorway to <city> | how is the traffic on the way to <city>
 | book <few> seats on the <time> train to <city> | reserve a table for <few> at <time>
 | find flights to <city> <when> | find a hotel in <country> | drive to <person> | which bus goes to <last> road
 | stop at the next <place> | how far away is the <place>
place = airport | bakery | bank | hospital | hotel | library | market | museum | police station | post office
 | railway station | supermarket | university | stadium
kind = chinese | indian | italian | japanese | seafood
spell = my name is <first> <last> | save the number of <first> <last>
 | my phone number is <digit> <digit> <digit> <digit> <digit> | <first> <last> lives at <number> <last> street
 | the code is <digit> <digit> <digit> <digit> | note that <first> owes me <large> dollars
 | gate <number> opens at <time> | room <large> on the <ordinal> floor
"""
