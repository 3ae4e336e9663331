window.YTD.tweets.part0 = [
  {
    "tweet" : {
      "id_str" : "1500000000000000001",
      "full_text" : "Tom &amp; Jerry are &lt;3 on the roof again",
      "favorite_count" : "12",
      "retweet_count" : "1",
      "created_at" : "Fri Mar 04 10:00:00 +0000 2022"
    }
  },
  {
    "tweet" : {
      "id_str" : "1500000000000000002",
      "in_reply_to_status_id_str" : "1500000000000000001",
      "in_reply_to_screen_name" : "me",
      "full_text" : "@me and now they sing https://t.co/AbC123",
      "favorite_count" : "3",
      "retweet_count" : "0",
      "created_at" : "Fri Mar 04 10:01:30 +0000 2022"
    }
  },
  {
    "tweet" : {
      "id_str" : "1500000000000000003",
      "in_reply_to_status_id_str" : "1400000000000000009",
      "full_text" : "@ann that is what I said",
      "favorite_count" : "0",
      "retweet_count" : "0",
      "created_at" : "Sat Mar 05 08:00:00 +0000 2022"
    }
  }
]
